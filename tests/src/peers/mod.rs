//! Programs of other people that must get along with the product. Not here: the lab that runs the product.

pub mod alertmanager;
pub mod daemon;
pub mod http;
pub mod installed;
pub mod mail;
pub mod prometheus;
pub mod python;
pub mod smpp;
pub mod trouble;
pub mod zabbix;
