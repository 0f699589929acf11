//! Scripts of failures and what people are told of them.
