//! Programs of other people that must get along with the product. Not here: the lab that runs the product.

pub mod python;
