//! The wire: generated messages and services, and their conversion from and to the model.
//!
//! What it is: the only crate that knows how records look as bytes. The contract in prose is
//! `proto/README.md`, the schema `proto/touchline/v1`.
//! What it is not: it decides nothing, appends nothing and knows no topic's position.
//!
//! **Invariants**: decoding never panics and accepts only what the model can hold; encoding is total
//! and deterministic; `decode(encode(x)) = x` for everything that [`check_event`] accepts; unknown
//! fields of a newer writer are skipped. Errors name fields, never values.

mod bodies;
mod bounds;
mod event;
mod headers;
mod output;
mod past;
mod record;
mod snapshot;
mod value;

pub use bounds::{
    EDIT_TAGS_MAX, NAME_BYTES_MAX, NATIVE_BYTES_MAX, REASON_BYTES_MAX, TEXT_BYTES_MAX, TOUCH_ID_BYTES_MAX,
};
pub use event::{
    SUBJECTS_MAX, TENANT_CHARS_MAX, VALUE_DEPTH_MAX, check_event, decode_event, encode_event, event_from, event_to,
};
pub use headers::{Headers, contact_headers, counted_headers, input_headers, output_headers, progress_headers};
pub use output::{
    ContactRecord, RawRecord, contact_to, counted_key, decode_contact_record, decode_output, encode_contact,
    encode_counted, encode_output, encode_progress, progress_key, progress_to, tag_change_to, touch_to,
};
pub use record::{
    REQUEST_ID_CHARS_MAX, check_command, decode_input, encode_input, input_key, migrations_from, migrations_to,
};

/// Generated messages, clients and servers of package `touchline.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::large_futures,
    clippy::redundant_clone,
    reason = "generated: the comments are in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("touchline.v1");
}

/// The schema, for gRPC reflection: an encoded `google.protobuf.FileDescriptorSet` without comments.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
