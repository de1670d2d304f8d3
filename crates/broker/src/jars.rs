//! Java and the broker's jars: looked for, fetched once, kept outside the clone.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is fetched, see the file itself.
const POM: &str = include_str!("../../../deploy/kafka/pom.xml");
/// The least Java that Kafka 4 runs on.
const LEAST_JAVA: u32 = 17;
/// Digits of the hash in a directory's name: two poms of one user never collide in 64 bits.
const HASH_DIGITS: usize = 16;

/// Why no broker can be started here. One line: what is missing, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}")]
pub struct Unavailable {
    line: String,
}

impl Unavailable {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self { line: line.into().replace('\n', " ") }
    }
}

/// A Java of 17 or later, and the jars of the broker and its tools.
#[derive(Debug, Clone)]
pub struct Jars {
    directory: PathBuf,
    java_version: String,
}

impl Jars {
    /// Finds what an earlier [`Jars::fetch`] left. Downloads nothing. Errors: Java or the jars are not there.
    pub fn locate() -> Result<Self, Unavailable> {
        let java_version = java_version()?;
        let directory = directory_of(POM);
        if directory.is_dir() {
            Ok(Self { directory, java_version })
        } else {
            Err(Unavailable::new("the jars of Kafka are not here; hint: cargo xtask setup (fetches them by Maven)"))
        }
    }

    /// Finds the jars, or fetches them by Maven: 54 MB, some seconds, once. Errors: Java or Maven is missing, or Maven
    /// cannot download.
    pub fn fetch() -> Result<Self, Unavailable> {
        let java_version = java_version()?;
        Ok(Self { directory: copy_dependencies(POM)?, java_version })
    }

    /// Where the jars lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A command that runs a class of the jars, e.g. `org.apache.kafka.tools.TopicCommand`; arguments are added to it.
    pub fn java(&self, class: &str) -> Command {
        self.java_with(&[], class)
    }

    /// The same with options of the virtual machine, e.g. `-Xmx128m`.
    pub fn java_with(&self, options: &[&str], class: &str) -> Command {
        let mut command = Command::new("java");
        if self.archive().is_file() {
            // Java ignores an archive that does not fit, and would say so on standard output.
            command.arg(format!("-XX:SharedArchiveFile={}", self.archive().display())).arg("-Xlog:disable");
        }
        command.args(options).arg("-cp").arg(self.directory.join("*")).arg(class).stdin(Stdio::null());
        command
    }

    /// Where the classes of a broker lie as Java maps them into memory, for this Java; see [`crate::speed_up`].
    pub(crate) fn archive(&self) -> PathBuf {
        let version = self.java_version.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        self.directory.with_extension(format!("java-{version}.jsa"))
    }
}

/// Directory with the run-time dependencies of a Maven project, fetched on first use and keyed by the text of its pom.
/// A download that breaks off leaves nothing that counts, and two at once do not disturb each other. Errors: Maven is
/// missing or fails.
pub fn copy_dependencies(pom: &str) -> Result<PathBuf, Unavailable> {
    let directory = directory_of(pom);
    if directory.is_dir() {
        return Ok(directory);
    }
    let cannot = |what: &str, error: std::io::Error| Unavailable::new(format!("cannot {what} for the jars: {error}"));
    let parent = directory.parent().expect("the cache directory has a parent");
    std::fs::create_dir_all(parent).map_err(|error| cannot("create the cache", error))?;
    let staging = tempfile::Builder::new().prefix("fetching-").tempdir_in(parent);
    let staging = staging.map_err(|error| cannot("create a directory", error))?;
    let (pom_file, jars) = (staging.path().join("pom.xml"), staging.path().join("jars"));
    std::fs::write(&pom_file, pom).map_err(|error| cannot("write the pom", error))?;
    run_maven(&pom_file, &jars)?;
    match std::fs::rename(&jars, &directory) {
        Ok(()) => Ok(directory),
        // Somebody else was faster.
        Err(_) if directory.is_dir() => Ok(directory),
        Err(error) => Err(cannot("rename the directory", error)),
    }
}

fn run_maven(pom_file: &Path, jars: &Path) -> Result<(), Unavailable> {
    let output_directory = format!("-DoutputDirectory={}", jars.display());
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(pom_file)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime", &output_directory])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Unavailable::new(format!("Maven does not start: {error}; hint: apt-get install maven")))?;
    if output.status.success() && jars.is_dir() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = said.lines().find(|line| line.contains("ERROR")).unwrap_or("it says nothing").to_owned();
    Err(Unavailable::new(format!("Maven cannot fetch the jars of Kafka ({}): {first}", output.status)))
}

/// Whether there is a Java that can run the broker. Errors: none, or too old a one.
pub fn check_java() -> Result<(), Unavailable> {
    java_version().map(|_| ())
}

fn java_version() -> Result<String, Unavailable> {
    let hint = "hint: cargo xtask setup, or apt-get install default-jre-headless";
    let output = Command::new("java").arg("-version").stdin(Stdio::null()).output();
    let output = output.map_err(|_| Unavailable::new(format!("Kafka needs Java {LEAST_JAVA} or later; {hint}")))?;
    // It prints its version on standard error.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = quoted_version(&said).map(|version| (version, java_major(version)));
    match version {
        Some((version, Some(major))) if major >= LEAST_JAVA => Ok(version.to_owned()),
        Some((version, Some(_))) => {
            Err(Unavailable::new(format!("Kafka needs Java {LEAST_JAVA} or later, not {version}; {hint}")))
        }
        _ => Err(Unavailable::new(format!("java does not say its version; {hint}"))),
    }
}

/// `openjdk version "17.0.15" 2025-04-15` → `17.0.15`.
fn quoted_version(said: &str) -> Option<&str> {
    said.split_once("version \"")?.1.split('"').next()
}

/// `17.0.15` → 17; `1.8.0_392` → 1, which is old enough.
fn java_major(version: &str) -> Option<u32> {
    version.split(['.', '-']).next()?.parse().ok()
}

fn directory_of(pom: &str) -> PathBuf {
    let digest = Sha256::digest(pom.as_bytes());
    let hash: String = digest.iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
    cache_dir().join("jars").join(hash)
}

/// The root that `cargo xtask` uses too, for what outlives a clone.
fn cache_dir() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("touchline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_version_is_read() {
        let of = |version: &str| {
            let said = format!("openjdk version \"{version}\" 2025-04-15\nOpenJDK 64-Bit");
            quoted_version(&said).and_then(java_major)
        };
        assert_eq!(["17.0.15", "21", "25-ea", "1.8.0_392"].map(of), [Some(17), Some(21), Some(25), Some(1)]);
        assert_eq!(quoted_version("java: not found"), None);
    }

    #[test]
    fn another_pom_is_another_directory() {
        assert_eq!(directory_of(POM), directory_of(POM));
        assert_ne!(directory_of(POM), directory_of(&format!("{POM} ")));
    }

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(Unavailable::new("a\nb").to_string(), "a b");
    }

    /// A pom that Maven refuses without looking anything up.
    #[test]
    fn a_failed_download_leaves_nothing() {
        let pom = "<project>no project of its own</project>";
        assert!(copy_dependencies(pom).is_err());
        assert!(!directory_of(pom).exists());
    }
}
