//! What kind of server a source is, by what it answers.
//!
//! PolarDB for PostgreSQL names itself in `version()`, behind the version of PostgreSQL that it is built
//! on, and says by `polar_compatibility_mode` whether it speaks Oracle's syntax; its first
//! Oracle-compatible edition says so in `version()`. What was seen stands in the tests.
//!
//! Nothing is decoded another way for it: `pgoutput` is PostgreSQL's, and types of its own travel as
//! text, as every type does that has no number of ours.

use tidewire_shared::spec::Flavor;

/// What a server answers when it is asked who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlavorAnswers {
    /// `version()`.
    pub version: String,
    /// `server_version`.
    pub server_version: String,
    /// `polar_compatibility_mode`, where there is such a setting.
    pub compatibility_mode: Option<String>,
}

/// A kind of server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// PostgreSQL, or what calls itself so.
    PostgreSql,
    /// PolarDB for PostgreSQL.
    PolarDb {
        /// Its own version, where it tells.
        release: Option<String>,
        /// It speaks Oracle's syntax.
        oracle: bool,
    },
}

/// Recognises a server; what the task declares wins over what it answers, because a proxy may answer
/// for it.
#[must_use]
pub fn recognise(declared: Flavor, answers: &FlavorAnswers) -> Recognised {
    let lower = answers.version.to_ascii_lowercase();
    let polar = lower.contains("polardb") || answers.compatibility_mode.is_some();
    match declared {
        Flavor::Postgresql => Recognised::PostgreSql,
        Flavor::Auto if !polar => Recognised::PostgreSql,
        Flavor::Auto | Flavor::Polardb => Recognised::PolarDb {
            release: release(&lower),
            oracle: lower.contains("compatible with oracle")
                || answers.compatibility_mode.as_deref() == Some("ora"),
        },
    }
}

/// The digits behind the name, as in `PostgreSQL 14.20 (PolarDB 14.20.41.0 build 1f03f15d)`.
fn release(version: &str) -> Option<String> {
    let (_, behind) = version.split_once("(polardb ")?;
    let release: String = behind.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    release.starts_with(|c: char| c.is_ascii_digit()).then_some(release)
}

impl Recognised {
    /// For people: the version of PostgreSQL, and whose build it is.
    #[must_use]
    pub fn describe(&self, answers: &FlavorAnswers) -> String {
        let base = &answers.server_version;
        match self {
            Self::PostgreSql => base.clone(),
            Self::PolarDb { release, oracle } => {
                let release = release.as_ref().map(|it| format!(" {it}")).unwrap_or_default();
                let oracle = if *oracle { ", Oracle syntax" } else { "" };
                format!("{base} (PolarDB{release}{oracle})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as servers gave them: `version()`, `polar_compatibility_mode`, and what they are.
    const SEEN: [(&str, Option<&str>, &str); 9] = [
        ("PostgreSQL 11.9 (POLARDB 11.9)", None, "11.9 (PolarDB 11.9)"),
        ("PostgreSQL 14.20 (PolarDB 14.20.41.0)", Some("pg"), "14.20 (PolarDB 14.20.41.0)"),
        (
            "PostgreSQL 14.20 (PolarDB 14.20.41.0)",
            Some("ora"),
            "14.20 (PolarDB 14.20.41.0, Oracle syntax)",
        ),
        (
            "PostgreSQL 16.14 (PolarDB 16.14.20.0 build 1f03f15d) on x86_64-linux-gnu",
            Some("pg"),
            "16.14 (PolarDB 16.14.20.0)",
        ),
        (
            "PostgreSQL 17.10 (PolarDB 17.10.1.0 build accf02e2) on x86_64-linux-gnu",
            None,
            "17.10 (PolarDB 17.10.1.0)",
        ),
        ("POLARDB Database Compatible with Oracle 11.2.9", None, "11.2.9 (PolarDB, Oracle syntax)"),
        (
            "PostgreSQL 17.6 on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0-14) 12.2.0, 64-bit",
            None,
            "17.6",
        ),
        ("PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu, 64-bit", None, "15.18"),
        ("PostgreSQL 18.4 - Percona Server for PostgreSQL 18.4.1 on x86_64-pc-linux", None, "18.4"),
    ];

    fn answers(version: &str, mode: Option<&str>) -> FlavorAnswers {
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        let from = version.chars().skip_while(|c| !c.is_ascii_digit());
        FlavorAnswers {
            version: version.to_owned(),
            server_version: from.take_while(|c| digits(*c)).collect(),
            compatibility_mode: mode.map(str::to_owned),
        }
    }

    #[test]
    fn servers_are_recognised_by_what_they_answer() {
        for (version, mode, described) in SEEN {
            let answers = answers(version, mode);
            let recognised = recognise(Flavor::Auto, &answers);
            assert_eq!(recognised.describe(&answers), described, "{version}");
        }
    }

    #[test]
    fn what_is_declared_wins() {
        let plain = answers("PostgreSQL 14.20 on x86_64", None);
        let polar = answers("PostgreSQL 14.20 (PolarDB 14.20.41.0)", Some("ora"));
        assert_eq!(recognise(Flavor::Postgresql, &polar).describe(&polar), "14.20");
        assert_eq!(recognise(Flavor::Polardb, &plain).describe(&plain), "14.20 (PolarDB)");
    }
}
