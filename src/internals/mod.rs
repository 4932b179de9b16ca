//! Internal parts for the benchmarks and for the program's `bench`. Only with the feature `internals`. Not a part of
//! the library's interface: it may change with any version.

mod commit;
mod counter;
mod engine;
mod frames;
mod queue;

pub use self::commit::{Encoder, append};
pub use self::counter::Counter;
pub use self::engine::engine_limit;
pub use self::frames::{Run, frames, payload, runs, scan};
pub use self::queue::{Queue, Receiver, consumer, message};

const CHANNEL: &str = "messages:published";
