//! Turns orders into priced orders.

use std::time::Duration;

use redis_consumer_group::{Builder, Consumer, ConsumerGroup, Message, Outcome, Processor, Record};
use serde::{Deserialize, Serialize};

use crate::error::AppError;
use crate::prices::Prices;

#[derive(Deserialize)]
struct Order {
    id: String,
    article: String,
    quantity: u64,
}

#[derive(Serialize)]
struct PricedOrder<'a> {
    id: &'a str,
    article: &'a str,
    total: u64,
    priced_by: &'a str,
}

/// The processor. All consumers of the group share it and its client.
pub struct PriceOrders {
    pub prices: Prices,
}

impl Processor for PriceOrders {
    type Error = AppError;

    async fn process(&self, consumer: &Consumer, message: Message) -> Result<Outcome, AppError> {
        let order: Order = message.json()?;
        if order.quantity == 0 {
            return Ok(Outcome::Skip);
        }
        let price = self.prices.price_of(&order.article).await?;
        let total = order.quantity.checked_mul(price).ok_or(AppError::TooMuch)?;
        let priced = PricedOrder { id: &order.id, article: &order.article, total, priced_by: consumer.id() };
        Ok(Record::from_serialize(&priced)?.into())
    }
}

/// The group, for the service with Redis and for the tests without it.
pub fn group(redis: impl AsRef<str>, prices: Prices) -> Builder<PriceOrders> {
    ConsumerGroup::builder(redis)
        .consumers(8)
        .max_attempts(3)
        // A price service that hangs must not stop the consumers.
        .processor_timeout(Duration::from_secs(10))
        .with_processor(PriceOrders { prices })
}
