//! Free TCP ports that stay free while a broker is down.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

/// Below are ports of well-known services.
const FIRST: u16 = 16_000;
/// The kernel gives outgoing connections ports from here on, unless it says otherwise.
const USUAL_EPHEMERAL_START: u16 = 32_768;

/// Where this process looks next, so that two clusters in one process do not choose the same.
static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// `count` ports on which nobody listens. Not from the range of outgoing connections: one of those could take the port
/// of a broker that is being restarted. Another process may still be faster, so whoever uses them tries again. Errors:
/// too few are free.
pub(crate) fn free(count: usize) -> std::io::Result<Vec<u16>> {
    let end = ephemeral_start();
    let mut next = NEXT.lock().expect("nobody panics while looking for ports");
    let mut candidate = next.unwrap_or_else(|| FIRST + (random() % u64::from(end - FIRST)) as u16);
    let mut found = Vec::with_capacity(count);
    for _ in FIRST..end {
        if found.len() == count {
            break;
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, candidate)).is_ok() {
            found.push(candidate);
        }
        candidate = if candidate + 1 < end { candidate + 1 } else { FIRST };
    }
    *next = Some(candidate);
    if found.len() == count { Ok(found) } else { Err(std::io::Error::other("no free ports")) }
}

/// A random number without a library for it: the keys of the standard hash maps are random.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn ephemeral_start() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let start = range.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(USUAL_EPHEMERAL_START);
    // A machine that gives away nearly everything leaves no choice.
    if start > FIRST + 1_000 { start } else { USUAL_EPHEMERAL_START }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_free_different_and_not_the_kernels() {
        let first = free(4).unwrap();
        let second = free(4).unwrap();
        let all: BTreeSet<u16> = first.iter().chain(&second).copied().collect();
        assert_eq!(all.len(), 8);
        assert!(all.iter().all(|port| (FIRST..ephemeral_start()).contains(port)));
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        // Somebody else may take a port between two looks: then another one is tried.
        let (taken, _listener) = std::iter::repeat_with(|| free(1).unwrap()[0])
            .find_map(|port| Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?)))
            .unwrap();
        *NEXT.lock().unwrap() = Some(taken);
        assert_ne!(free(1).unwrap()[0], taken);
    }
}
