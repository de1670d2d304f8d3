//! The services, one file each.

mod admin;
mod board;
mod contact;
mod explain;
mod links;
mod metric;
mod playbook;
mod segment;
mod timeline;
mod touch;
