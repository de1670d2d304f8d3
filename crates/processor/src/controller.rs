//! Moving a virtual wall: from due moment to due moment, each settled before the next.
//!
//! `--clock manual`, `touchline replay` and the cluster of tests use the same loop: move the wall to the
//! earliest due moment, let every partition fire what is due and come to rest, repeat until `to`; then
//! tick all, so that every clock stands at `to`. (Only partitions with something due are ticked on the
//! way: a tick elsewhere would carry the same time to cells that do not ask for it, and days with
//! thousands of due touches would cost four records each.)

use crate::error::Error;
use crate::runner::Handle;
use crate::wire;
use std::time::{Duration, Instant};
use touchline_log::{Ack, Appended, Log, ManualWall, Topic, Wall};
use touchline_model::record::Input;
use touchline_model::time::Time;

/// Moves that lead to nothing (the wall stands, something stays due) before it counts as a defect.
const FRUITLESS_MAX: u64 = 1_000;
/// How long partitions may take to come to rest at one moment, in wall time of the machine.
const REST_TIMEOUT: Duration = Duration::from_secs(60);

/// Partitions whose time a controller moves.
pub trait Driver {
    /// Works until everything that is due by the wall is applied, published and delivered.
    fn settle(&mut self) -> Result<(), Error>;
    /// Earliest pending timer of all partitions.
    fn next_due(&self) -> Result<Option<Time>, Error>;
    /// The virtual wall.
    fn wall(&self) -> &ManualWall;
    /// The log ticks are appended to.
    fn log(&self) -> &dyn Log;
}

/// Moves the wall to `to` through every due moment before it. Clocks of idle partitions stay behind.
pub fn pass_due(driver: &mut dyn Driver, to: Time) -> Result<(), Error> {
    let mut fruitless = 0;
    loop {
        driver.settle()?;
        let now = driver.wall().now();
        match driver.next_due()? {
            Some(due) if due <= to => {
                fruitless = if due > now { 0 } else { fruitless + 1 };
                if fruitless > FRUITLESS_MAX {
                    return Err(Error::Restless(FRUITLESS_MAX));
                }
                driver.wall().advance(due);
            }
            Some(_) | None => break,
        }
    }
    driver.wall().advance(to);
    Ok(())
}

/// Moves the wall to `to` through every due moment before it; then every partition's clock stands at `to`.
pub fn advance(driver: &mut dyn Driver, to: Time) -> Result<(), Error> {
    pass_due(driver, to)?;
    drop(tick_all(driver.log(), driver.wall().now()));
    // What was armed for the very moment `to` is due now.
    pass_due(driver, to)
}

/// [`advance`] for running partitions: `AdvanceClock` of `--clock manual`. Returns where the wall stands.
pub fn advance_clock(handle: &Handle, log: &dyn Log, wall: &ManualWall, to: Time) -> Result<Time, Error> {
    advance(&mut Running { handle, log, wall }, to)?;
    Ok(wall.now())
}

/// Appends a tick to every partition, in order; the answers say where. A failed one is harmless: the next carries the
/// time as well.
pub fn tick_all(log: &dyn Log, now: Time) -> Vec<Ack<Appended>> {
    let tick = || vec![wire::input_record(&Input::Tick { wall: now })];
    (0..log.partitions()).map(|partition| log.append_own(Topic::Events, partition, tick())).collect()
}

struct Running<'a> {
    handle: &'a Handle,
    log: &'a dyn Log,
    wall: &'a ManualWall,
}

impl Driver for Running<'_> {
    fn settle(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + REST_TIMEOUT;
        // The wall may just have moved: nothing else wakes partitions that wait for it.
        self.log.signal().notify();
        loop {
            let seen = self.log.signal().count();
            if self.handle.is_at_rest(self.wall.now())? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout(REST_TIMEOUT.as_secs()));
            }
            // Partitions notify when they come to rest; the timeout is for what nobody tells.
            self.log.signal().wait_past(seen, Duration::from_millis(20));
        }
    }

    fn next_due(&self) -> Result<Option<Time>, Error> {
        Ok(self.handle.status().iter().filter_map(|status| status.next_due).min())
    }

    fn wall(&self) -> &ManualWall {
        self.wall
    }

    fn log(&self) -> &dyn Log {
        self.log
    }
}
