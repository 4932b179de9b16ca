//! What the test of the documentation is made of.
//!
//! ```text
//!   page         a page, and the commands in its fenced blocks
//!     │
//!   session      runs the commands of a page
//!     │  place   the servers that stand for those of the page
//!     │
//!   transcript   compares what a command printed with what the page says
//! ```
pub(crate) mod page;
mod place;
pub(crate) mod session;
mod transcript;
