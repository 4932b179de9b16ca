//! The client of the price service. All consumers share its connections.

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

use crate::error::AppError;

pub struct Prices {
    url: String,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Prices {
    /// A client of the service at this URL, such as `http://localhost:8000`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The price of one piece, in cents.
    pub async fn price_of(&self, article: &str) -> Result<u64, AppError> {
        let no_such_article = || AppError::NoSuchArticle(article.to_owned());
        // The name comes from a message: it must not lead to another path.
        if !article.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(no_such_article());
        }
        let uri: Uri = format!("{}/prices/{article}", self.url).parse().map_err(|_| no_such_article())?;
        let response = self.client.get(uri).await?;
        match response.status() {
            StatusCode::OK => {
                let body = response.into_body().collect().await?.to_bytes();
                Ok(serde_json::from_slice(&body)?)
            }
            StatusCode::NOT_FOUND => Err(no_such_article()),
            status => Err(AppError::Refused(status)),
        }
    }
}
