//! One file per noun of the command line.

pub(crate) mod board;
pub(crate) mod clock;
pub(crate) mod contact;
pub(crate) mod directory;
pub(crate) mod link;
pub(crate) mod metric;
pub(crate) mod playbook;
pub(crate) mod playbook_plan;
pub(crate) mod playbook_test;
pub(crate) mod replay;
pub(crate) mod segment;
pub(crate) mod send;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod topics;
pub(crate) mod touches;
pub(crate) mod verify;
