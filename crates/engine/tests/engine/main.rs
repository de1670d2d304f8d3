//! The engine over maps: no log, no store, no processor.

mod activation;
mod asking;
mod clocks;
mod corners;
mod groups;
mod hostile;
mod main_job;
mod merging;
mod orders;
mod parting;
mod phones;
mod support;
mod tokens;
mod total;
mod touches;
