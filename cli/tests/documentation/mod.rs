//! The parts of the documentation test.
//!
//! ```text
//!   page         a page, and the commands in its fenced blocks
//!     │
//!   session      runs the commands of a page
//!     │  place   the private servers that replace those of the page
//!     │
//!   transcript   compares the output of a command with the page
//! ```
pub(crate) mod page;
mod place;
pub(crate) mod session;
mod transcript;
