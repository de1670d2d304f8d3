//! How long a checkpoint holds up its store, how long it takes, and how long a store takes to come back from one:
//! `cargo run -p touchline-rocks --example bench_checkpoint -- [CONTACTS] [DIRECTORY]`.

#![expect(clippy::unwrap_used, reason = "an example stops where something is not as expected")]
#![expect(clippy::print_stdout, reason = "it is what it is for")]

use std::path::Path;
use std::time::Instant;
use touchline_rocks::{Links, RocksStores, SharedCache};
use touchline_store::{Change, Opened, Stores};

/// Of a contact with a few identities, tags and enrolments.
const VALUE_BYTES: usize = 700;

/// Changes of a batch.
const BATCH: u64 = 512;

fn main() {
    let contacts = std::env::args().nth(1).map_or(200_000, |text| text.parse().unwrap());
    let parent = std::env::args().nth(2).map_or_else(std::env::temp_dir, Into::into);
    for links in [Links::WherePossible, Links::Never] {
        let dir = tempfile::tempdir_in(&parent).unwrap();
        println!("{links:?}, {contacts} contacts of {VALUE_BYTES} bytes");
        measure(dir.path(), contacts, links);
    }
}

fn measure(dir: &Path, contacts: u64, links: Links) {
    let stores =
        RocksStores::new(dir.join("stores"), Some(dir.join("checkpoints")), links, SharedCache::new(256 << 20));
    let mut opened = stores.open(0).unwrap();
    let from = Instant::now();
    change(&mut opened, 0..contacts, 1);
    println!("  written                     {:>8.1} ms", ms(from));
    checkpoint(&stores, &opened, 1, "first");
    checkpoint(&stores, &opened, 2, "unchanged");
    change(&mut opened, 0..contacts / 20, 2);
    checkpoint(&stores, &opened, 3, "after 5 % changed");
    drop(opened);
    stores.discard(0).unwrap();
    let from = Instant::now();
    let opened = stores.open(0).unwrap();
    println!("  restored and opened         {:>8.1} ms   {:?}", ms(from), opened.origin);
    drop(opened);
    let from = Instant::now();
    let opened = stores.open(0).unwrap();
    println!("  opened                      {:>8.1} ms   {:?}", ms(from), opened.origin);
}

fn checkpoint(stores: &RocksStores, opened: &Opened, offset: u64, what: &str) {
    let from = Instant::now();
    let frozen = stores.freeze(0, opened.store.as_ref(), offset).unwrap();
    let stall = ms(from);
    let from = Instant::now();
    let report = frozen.keep().unwrap();
    println!(
        "  checkpoint {what:<17}{stall:>8.1} ms stall {:>8.1} ms keeping, {} MB, {} MB copied",
        ms(from),
        report.bytes / 1_000_000,
        report.copied_bytes / 1_000_000
    );
}

/// Half of a value is noise and half repeats, which compresses as contacts do.
fn change(opened: &mut Opened, contacts: std::ops::Range<u64>, round: u64) {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64 ^ round;
    let mut next = contacts.start;
    while next < contacts.end {
        let batch = (next..contacts.end.min(next + BATCH)).map(|contact| {
            let mut value = vec![b'x'; VALUE_BYTES];
            for chunk in value[..VALUE_BYTES / 2].chunks_mut(8) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                chunk.copy_from_slice(&random.to_be_bytes()[..chunk.len()]);
            }
            Change::Put(format!("c|contact/{contact:010}").into_bytes(), value)
        });
        opened.store.write(batch.collect()).unwrap();
        next += BATCH;
    }
}

fn ms(from: Instant) -> f64 {
    from.elapsed().as_secs_f64() * 1_000.0
}
