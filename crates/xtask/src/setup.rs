//! Finds what a Debian or Ubuntu machine lacks and installs it, or prints the one line to run.
//!
//! Assumed: a Rust toolchain and git. Decisions ([`plan`]) are apart from looking ([`look`]) and acting ([`carry_out`]).

use crate::cargo;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use touchline_broker::{Jars, check_java, speed_up};

/// What the caller is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Compile and run Touchline.
    Build,
    /// Start brokers of Kafka.
    Kafka,
    /// Compile, and run every test. Where no broker can be had the rest goes on: the tests that need one say so
    /// themselves, and fail where one is required.
    Everything,
}

/// Something the machine must have.
struct Requirement {
    name: &'static str,
    purpose: &'static str,
    package: &'static str,
    present: fn() -> bool,
    how: How,
    serves: Serves,
}

/// What a requirement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    Build,
    MetricsTest,
    Broker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// `apt-get install`: needs root.
    Install,
    /// Download the package and unpack it into the cache: installing it would also start a service.
    Unpack,
    /// Let Maven fetch the jars into the cache: needs no rights, but Java and Maven.
    Fetch,
}

const REQUIREMENTS: [Requirement; 9] = [
    Requirement {
        name: "C compiler",
        purpose: "compiles lz4, zstd and RocksDB",
        package: "build-essential",
        present: || answers("cc"),
        how: How::Install,
        serves: Serves::Build,
    },
    Requirement {
        name: "C++ compiler",
        purpose: "compiles RocksDB",
        package: "build-essential",
        present: || answers("c++"),
        how: How::Install,
        serves: Serves::Build,
    },
    Requirement {
        name: "libclang",
        purpose: "generates the bindings of RocksDB",
        package: "libclang-dev",
        present: has_libclang,
        how: How::Install,
        serves: Serves::Build,
    },
    Requirement {
        name: "pkg-config",
        purpose: "finds OpenSSL for the Kafka client",
        package: "pkg-config",
        present: || answers("pkg-config"),
        how: How::Install,
        serves: Serves::Build,
    },
    Requirement {
        name: "OpenSSL",
        purpose: "encrypts connections to Kafka",
        package: "libssl-dev",
        present: || output("pkg-config", &["--modversion", "openssl"]).is_some(),
        how: How::Install,
        serves: Serves::Build,
    },
    Requirement {
        name: "Prometheus and promtool",
        purpose: "evaluate every dashboard and alert query in the tests",
        package: "prometheus",
        present: || tool("prometheus").is_some() && tool("promtool").is_some(),
        how: How::Unpack,
        serves: Serves::MetricsTest,
    },
    Requirement {
        name: "Java 17",
        purpose: "runs the Kafka broker of tests and demo",
        package: "default-jre-headless",
        present: || check_java().is_ok(),
        how: How::Install,
        serves: Serves::Broker,
    },
    Requirement {
        name: "Maven",
        purpose: "fetches the broker, once",
        package: "maven",
        present: || tool("mvn").is_some() || Jars::locate().is_ok(),
        how: How::Install,
        serves: Serves::Broker,
    },
    Requirement {
        name: "Kafka's jars",
        purpose: "are the broker of tests and demo",
        package: "Maven Central",
        present: || Jars::locate().is_ok(),
        how: How::Fetch,
        serves: Serves::Broker,
    },
];

/// Makes sure that the machine has what `need` takes. Errors: something is missing and cannot be installed from here;
/// the message holds the one line to run.
pub(crate) fn run(need: Need) -> Result<()> {
    match need {
        Need::Build => provide(&[Serves::Build])?,
        Need::Kafka => return provide_broker(),
        Need::Everything => {
            provide(&[Serves::Build, Serves::MetricsTest])?;
            if let Err(error) = provide_broker() {
                println!("set-up: no Kafka broker can be had: {error:#}");
            }
        }
    }
    println!("set-up: everything needed is here");
    cargo::announce_first_build();
    Ok(())
}

/// Java, the jars, and the broker's classes as Java maps them: also after an update of Java.
fn provide_broker() -> Result<()> {
    provide(&[Serves::Broker])?;
    if let Err(error) = speed_up(&Jars::locate()?) {
        println!("set-up: brokers will start slowly: {error}");
    }
    Ok(())
}

fn provide(purposes: &[Serves]) -> Result<()> {
    let wanted = REQUIREMENTS.iter().filter(|item| purposes.contains(&item.serves));
    let missing: Vec<&Requirement> = wanted.filter(|item| !(item.present)()).collect();
    for item in &missing {
        println!("missing: {} ({}), from {}", item.name, item.purpose, item.package);
    }
    carry_out(plan(&missing, look()))?;
    let still_missing = missing.iter().filter(|item| !(item.present)()).map(|item| item.name).collect::<Vec<_>>();
    if !still_missing.is_empty() {
        bail!("still missing after the installation: {}", still_missing.join(", "));
    }
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
    FetchJars,
}

fn plan(missing: &[&Requirement], rights: Rights) -> Plan {
    let of = |how: How| {
        let mut packages: Vec<&str> = missing.iter().filter(|item| item.how == how).map(|item| item.package).collect();
        packages.dedup();
        packages
    };
    let (install, unpack) = (of(How::Install), of(How::Unpack));
    let mut steps = Vec::new();
    if !install.is_empty() || !unpack.is_empty() {
        let all = [install.as_slice(), unpack.as_slice()].concat().join(" ");
        let prefix: &[&str] = match rights {
            Rights::Root => &[],
            Rights::Sudo => &["sudo", "-n"],
            Rights::None => {
                let line = format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {all}");
                return Plan::Tell(line);
            }
            Rights::NoApt => {
                let names = missing.iter().filter(|item| item.how != How::Fetch).map(|item| item.name);
                return Plan::Name(names.collect::<Vec<_>>().join(", "));
            }
        };
        steps.push(Step::Update { prefix });
        if !install.is_empty() {
            steps.push(Step::Install { prefix, packages: install });
        }
        steps.extend(unpack.into_iter().map(|package| Step::Unpack { package }));
    }
    if !of(How::Fetch).is_empty() {
        steps.push(Step::FetchJars);
    }
    if steps.is_empty() { Plan::Nothing } else { Plan::Run(steps) }
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
        Step::FetchJars => {
            println!("set-up: Maven fetches the jars of Kafka, 54 MB, once");
            Jars::fetch()?;
            Ok(())
        }
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
    fn jars_come_last_and_take_no_rights() {
        let steps = vec![
            Step::Update { prefix: &[] },
            Step::Install { prefix: &[], packages: vec!["default-jre-headless", "maven"] },
            Step::FetchJars,
        ];
        let broker = missing(&["Java 17", "Maven", "Kafka's jars"]);
        assert_eq!(plan(&broker, Rights::Root), Plan::Run(steps));
        let line = "sudo apt-get update && sudo apt-get install -y --no-install-recommends default-jre-headless maven";
        assert_eq!(plan(&broker, Rights::None), Plan::Tell(line.into()));
        assert_eq!(plan(&broker, Rights::NoApt), Plan::Name("Java 17, Maven".into()));
        for rights in [Rights::Root, Rights::None, Rights::NoApt] {
            assert_eq!(plan(&missing(&["Kafka's jars"]), rights), Plan::Run(vec![Step::FetchJars]));
        }
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
