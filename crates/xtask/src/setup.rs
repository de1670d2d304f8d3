//! Finds what a Debian or Ubuntu machine lacks and installs it, or prints the one line to run.
//!
//! Assumed: a Rust toolchain and git. Decisions ([`plan`]) are apart from looking ([`look`]) and acting ([`carry_out`]).

use crate::cargo;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the caller is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Compile and run Touchline.
    Build,
    /// That, and every test.
    Everything,
}

/// Something the machine must have.
struct Requirement {
    name: &'static str,
    purpose: &'static str,
    package: &'static str,
    present: fn() -> bool,
    how: How,
    needed_to_build: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// `apt-get install`: needs root.
    Install,
    /// Download the package and unpack it into the cache: installing it would also start a service.
    Unpack,
}

const REQUIREMENTS: [Requirement; 4] = [
    Requirement {
        name: "C compiler",
        purpose: "compiles lz4, zstd and RocksDB",
        package: "build-essential",
        present: || answers("cc"),
        how: How::Install,
        needed_to_build: true,
    },
    Requirement {
        name: "C++ compiler",
        purpose: "compiles RocksDB",
        package: "build-essential",
        present: || answers("c++"),
        how: How::Install,
        needed_to_build: true,
    },
    Requirement {
        name: "libclang",
        purpose: "generates the bindings of RocksDB",
        package: "libclang-dev",
        present: has_libclang,
        how: How::Install,
        needed_to_build: true,
    },
    Requirement {
        name: "Prometheus and promtool",
        purpose: "evaluate every dashboard and alert query in the tests",
        package: "prometheus",
        present: || tool("prometheus").is_some() && tool("promtool").is_some(),
        how: How::Unpack,
        needed_to_build: false,
    },
];

/// Makes sure that the machine has what `need` takes. Errors: something is missing and cannot be installed from here;
/// the message holds the one line to run.
pub(crate) fn run(need: Need) -> Result<()> {
    let wanted = REQUIREMENTS.iter().filter(|item| need == Need::Everything || item.needed_to_build);
    let missing: Vec<&Requirement> = wanted.filter(|item| !(item.present)()).collect();
    for item in &missing {
        println!("missing: {} ({}), from the package {}", item.name, item.purpose, item.package);
    }
    carry_out(plan(&missing, look()))?;
    let still_missing = missing.iter().filter(|item| !(item.present)()).map(|item| item.name).collect::<Vec<_>>();
    if !still_missing.is_empty() {
        bail!("still missing after the installation: {}", still_missing.join(", "));
    }
    println!("set-up: everything needed is here");
    cargo::announce_first_build();
    Ok(())
}

/// Path of a program: on PATH, in the system's directories, or unpacked into the cache by an earlier set-up.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    directories.extend(["/usr/bin".into(), "/usr/local/bin".into(), unpacked().join("usr/bin")]);
    directories.into_iter().map(|directory| directory.join(name)).find(|path| path.is_file())
}

fn unpacked() -> PathBuf {
    cargo::cache_dir().join("tools")
}

/// What this process may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    /// Password-less `sudo`.
    Sudo,
    None,
    /// No apt: not Debian or Ubuntu.
    NoApt,
}

fn look() -> Rights {
    if tool("apt-get").is_none() {
        Rights::NoApt
    } else if output("id", &["-u"]).is_some_and(|id| id.trim() == "0") {
        Rights::Root
    } else if output("sudo", &["-n", "true"]).is_some() {
        Rights::Sudo
    } else {
        Rights::None
    }
}

/// What to do about what is missing.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Run(Vec<Step>),
    /// The machine's owner has to run this line.
    Tell(String),
    /// Not a system we can install on: these are needed.
    Name(String),
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Update { prefix: &'static [&'static str] },
    Install { prefix: &'static [&'static str], packages: Vec<&'static str> },
    Unpack { package: &'static str },
}

fn plan(missing: &[&Requirement], rights: Rights) -> Plan {
    let of = |how: How| {
        let mut packages: Vec<&str> = missing.iter().filter(|item| item.how == how).map(|item| item.package).collect();
        packages.dedup();
        packages
    };
    let (install, unpack) = (of(How::Install), of(How::Unpack));
    if missing.is_empty() {
        return Plan::Nothing;
    }
    let all = [install.as_slice(), unpack.as_slice()].concat().join(" ");
    let prefix: &[&str] = match rights {
        Rights::Root => &[],
        Rights::Sudo => &["sudo", "-n"],
        Rights::None => {
            return Plan::Tell(format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {all}"));
        }
        Rights::NoApt => return Plan::Name(missing.iter().map(|item| item.name).collect::<Vec<_>>().join(", ")),
    };
    let mut steps = vec![Step::Update { prefix }];
    if !install.is_empty() {
        steps.push(Step::Install { prefix, packages: install });
    }
    steps.extend(unpack.into_iter().map(|package| Step::Unpack { package }));
    Plan::Run(steps)
}

fn carry_out(plan: Plan) -> Result<()> {
    match plan {
        Plan::Nothing => Ok(()),
        Plan::Tell(line) => bail!(
            "this user may not install packages\nhint: run this line, then the same command again:\n\n    {line}\n"
        ),
        Plan::Name(names) => bail!(
            "{names} missing, and this is no Debian or Ubuntu\nhint: install them with the system's package manager"
        ),
        Plan::Run(steps) => steps.iter().try_for_each(step),
    }
}

fn step(step: &Step) -> Result<()> {
    match step {
        Step::Update { prefix } => apt(prefix, &["update"], &[]),
        Step::Install { prefix, packages } => apt(prefix, &["install", "-y", "--no-install-recommends"], packages),
        Step::Unpack { package } => unpack(package),
    }
}

fn apt(prefix: &[&str], arguments: &[&str], packages: &[&str]) -> Result<()> {
    let words = [prefix, &["apt-get", "-q"], arguments, packages].concat();
    println!("set-up: {}", words.join(" "));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let status = command.status().with_context(|| format!("cannot start {}", words[0]))?;
    if status.success() { Ok(()) } else { bail!("`{}` failed: {status}", words.join(" ")) }
}

fn unpack(package: &str) -> Result<()> {
    let directory = unpacked();
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    println!("set-up: unpacking {package} into {}", directory.display());
    let status = Command::new("apt-get").args(["-q", "download", package]).current_dir(&directory).status();
    if !status.context("cannot start apt-get")?.success() {
        bail!("cannot download the package {package}\nhint: apt-get update, then the same command again");
    }
    let start = format!("{package}_");
    for entry in
        std::fs::read_dir(&directory)?.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(&start))
    {
        let status = Command::new("dpkg-deb").arg("-x").arg(entry.path()).arg(&directory).status();
        if !status.context("cannot start dpkg-deb")?.success() {
            bail!("cannot unpack {}", entry.path().display());
        }
        std::fs::remove_file(entry.path())?;
    }
    Ok(())
}

fn answers(program: &str) -> bool {
    output(program, &["--version"]).is_some()
}

/// What a command prints, if it succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The library itself, where bindgen looks, and clang's own headers (`stddef.h`), which a package of their own holds.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let system = subdirectories(Path::new("/usr/lib"), "llvm-").into_iter().map(|path| path.join("lib"));
    let configured = output("llvm-config", &["--libdir"]).map(|path| PathBuf::from(path.trim()));
    let libraries: Vec<PathBuf> = system.chain(configured).collect();
    let versions = libraries.iter().flat_map(|path| subdirectories(&path.join("clang"), ""));
    let headers = versions.into_iter().any(|version| version.join("include/stddef.h").is_file());
    let cached =
        output("/sbin/ldconfig", &["-p"]).is_some_and(|list| list.lines().any(|line| is_libclang(line.trim())));
    let found = cached || libraries.iter().any(|path| names(path).iter().any(|name| is_libclang(name)));
    found && headers
}

/// `libclang.so`, `libclang-14.so.13` and the like, but not `libclang-cpp.so`.
fn is_libclang(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("libclang") else { return false };
    let rest = rest.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit() || c == '.');
    rest.starts_with("so")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn subdirectories(directory: &Path, start: &str) -> Vec<PathBuf> {
    let matching = names(directory).into_iter().filter(|name| name.starts_with(start));
    matching.map(|name| directory.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(names: &[&str]) -> Vec<&'static Requirement> {
        REQUIREMENTS.iter().filter(|item| names.contains(&item.name)).collect()
    }

    #[test]
    fn whoever_may_install_installs_each_package_once() {
        let compilers = missing(&["C compiler", "C++ compiler", "Prometheus and promtool"]);
        let steps = |prefix| {
            vec![
                Step::Update { prefix },
                Step::Install { prefix, packages: vec!["build-essential"] },
                Step::Unpack { package: "prometheus" },
            ]
        };
        assert_eq!(plan(&compilers, Rights::Root), Plan::Run(steps(&[])));
        assert_eq!(plan(&compilers, Rights::Sudo), Plan::Run(steps(&["sudo", "-n"])));
        assert_eq!(plan(&[], Rights::None), Plan::Nothing);
    }

    #[test]
    fn whoever_may_not_gets_one_line() {
        let line = "sudo apt-get update && sudo apt-get install -y --no-install-recommends libclang-dev prometheus";
        assert_eq!(plan(&missing(&["libclang", "Prometheus and promtool"]), Rights::None), Plan::Tell(line.into()));
        assert!(carry_out(Plan::Tell(line.into())).unwrap_err().to_string().contains(line));
        assert_eq!(plan(&missing(&["libclang"]), Rights::NoApt), Plan::Name("libclang".into()));
    }

    #[test]
    fn libclang_is_told_from_its_neighbours() {
        let found: Vec<bool> = [
            "libclang.so",
            "libclang-14.so.1",
            "libclang.so.1",
            "libclang-14.0.6.so",
            "libclang-cpp.so.14",
            "libclangAST.a",
        ]
        .map(is_libclang)
        .to_vec();
        assert_eq!(found, [true, true, true, true, false, false]);
    }
}
