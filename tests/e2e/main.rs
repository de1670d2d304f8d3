//! End-to-end tests: real processes, real RocksDB, real sockets on loopback.

mod disk_full;
mod kills;
mod scenarios;
mod second_playbook;
