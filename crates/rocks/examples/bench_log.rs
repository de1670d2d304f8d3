//! `bench_log [DIRECTORY] [CLIENTS] [SECONDS]`: durable appends through the embedded log against the bare disk.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let clients = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let dir = tempfile::Builder::new().prefix("touchline-bench").tempdir_in(parent)?;
    let report = touchline_rocks::bench::append_vs_fsync(dir.path(), clients, seconds)?;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}
