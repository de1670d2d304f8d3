//! End-to-end tests over Kafka: roles as processes of their own on a real broker that is broken on demand.

mod damage;
mod faults;
mod fleet;
mod kills;
mod scenarios;
mod setting;
