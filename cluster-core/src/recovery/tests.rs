//! Scripts of losses and what the leader makes of them.
