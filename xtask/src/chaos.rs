//! `cargo x chaos`: all faults in random order, round after round, with a report at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use tidewire_cluster_tests::chaos::{
    Fault, KafkaRounds, Kind, Made, Plan, PostgresRounds, Round, VERSIONS,
};
use tidewire_testbed::oracle::Format;

use crate::{checks, screen};

#[derive(Args)]
pub(crate) struct ChaosArguments {
    /// What the task of the rounds carries: changes of PostgreSQL, or topics of another Kafka
    #[arg(long, value_enum, default_value = "postgres")]
    kind: KindName,
    /// How many rounds of all faults
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Decides the load and the order of the faults; each round adds one
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kinds of faults, with commas between them; no others happen
    #[arg(long, value_parser = fault, value_delimiter = ',')]
    only: Vec<String>,
    /// One fault of each kind, none that takes minutes, and a smaller large transaction
    #[arg(long)]
    short: bool,
    /// One format instead of each in turn, of changes of PostgreSQL
    #[arg(long)]
    format: Option<Format>,
    /// One version of PostgreSQL instead of each in turn
    #[arg(long, value_parser = VERSIONS)]
    postgres: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindName {
    Postgres,
    Kafka,
}

impl KindName {
    fn kind(self) -> Kind {
        match self {
            Self::Postgres => Kind::Postgres,
            Self::Kafka => Kind::Kafka,
        }
    }
}

fn names(kinds: &[Kind]) -> BTreeSet<String> {
    let faults = kinds.iter().flat_map(|kind| Fault::of_a_round(*kind));
    faults.map(|fault| fault.to_string()).collect()
}

fn fault(name: &str) -> Result<String, String> {
    let known = names(&[Kind::Postgres, Kind::Kafka]);
    let found = known.contains(name).then(|| name.to_owned());
    found.ok_or_else(|| format!("not one of {}", known.into_iter().collect::<Vec<_>>().join(", ")))
}

/// What all rounds showed of one kind of fault.
#[derive(Default)]
struct Seen {
    made: u32,
    longest: Duration,
    /// Seeds of the rounds in which it failed.
    failed: Vec<u64>,
}

pub(crate) fn run(arguments: &ChaosArguments) -> Result<ExitCode> {
    check(arguments)?;
    screen::step("servers for the rounds", checks::fetch_servers)?;
    let binary = checks::build_for_faults()?;
    match arguments.kind {
        KindName::Postgres => {
            let rounds =
                screen::step("three brokers behind a proxy", || PostgresRounds::start(binary))?;
            report(arguments, |seed| {
                let plan = plan(arguments, seed);
                let (postgres, format) = (plan.postgres, plan.format);
                screen::note(&format!(
                    "── round with seed {seed}: PostgreSQL {postgres}, {format}"
                ));
                rounds.round(plan, tell)
            })
        }
        KindName::Kafka => {
            let rounds = KafkaRounds::new(binary);
            report(arguments, |seed| {
                screen::note(&format!(
                    "── round with seed {seed}: three brokers into three brokers"
                ));
                rounds.round(seed, faults(arguments), tell)
            })
        }
    }
}

/// What is asked for goes together.
fn check(arguments: &ChaosArguments) -> Result<()> {
    let of_postgres = arguments.format.is_some() || arguments.postgres.is_some();
    let kafka = arguments.kind == KindName::Kafka;
    ensure!(!(kafka && of_postgres), "--format and --postgres are for rounds of --kind postgres");
    let known = names(&[arguments.kind.kind()]);
    match arguments.only.iter().find(|only| !known.contains(*only)) {
        Some(unknown) => bail!("rounds of this --kind have no fault {unknown}"),
        None => Ok(()),
    }
}

/// Plays all rounds, and tells what they showed.
fn report(
    arguments: &ChaosArguments,
    mut play: impl FnMut(u64) -> Result<Round>,
) -> Result<ExitCode> {
    let start = Instant::now();
    let mut seen = BTreeMap::<String, Seen>::new();
    let mut bad = Vec::new();
    for seed in (0..arguments.rounds).map(|round| arguments.seed.wrapping_add(round)) {
        match play(seed) {
            Ok(round) => {
                count(&mut seen, seed, &round);
                show(seed, &round)?;
                bad.extend(iter::once(seed).filter(|_| !round.holds()));
            }
            Err(failed) => {
                screen::result(format!("round {seed}: {failed:#}"))?;
                bad.push(seed);
            }
        }
    }
    screen::result(format!("{} rounds in {:.0?}", arguments.rounds, start.elapsed()))?;
    for (fault, Seen { made, longest, failed }) in seen {
        let longest = longest.as_secs_f32();
        screen::result(format!(
            "{fault:<28} made {made:>4}  longest {longest:>5.1} s  failed in rounds {failed:?}"
        ))?;
    }
    screen::result(format!("rounds that do not hold: {bad:?}"))?;
    Ok(if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The faults of a round, as they are asked for.
fn faults(arguments: &ChaosArguments) -> Vec<Fault> {
    let mut faults = Fault::of_a_round(arguments.kind.kind());
    let only = &arguments.only;
    faults.retain(|fault| only.is_empty() || only.contains(&fault.to_string()));
    if arguments.short {
        let mut known = BTreeSet::new();
        faults.retain(|fault| known.insert(fault.to_string()) && !fault.is_long());
    }
    faults
}

/// What the round with this seed is about.
fn plan(arguments: &ChaosArguments, seed: u64) -> Plan {
    // Seven versions and four formats have no common factor: each meets each.
    let turn = usize::try_from(seed).unwrap_or_default();
    let asked = |version: &&&str| arguments.postgres.as_deref() == Some(**version);
    let postgres = VERSIONS.iter().find(asked).unwrap_or(&VERSIONS[turn % VERSIONS.len()]);
    let format = arguments.format.unwrap_or(Format::ALL[turn % Format::ALL.len()]);
    let large = if arguments.short { 200_000 } else { 1_000_000 };
    Plan { seed, faults: faults(arguments), postgres, format, large }
}

fn tell(Made { fault, carried, took, failed }: &Made) {
    let outcome = failed.as_deref().unwrap_or("survived");
    let (fault, took) = (fault.to_string(), took.as_secs_f32());
    screen::note(&format!("at record {carried:>8}  {fault:<28} {took:>5.1} s  {outcome}"));
}

fn count(seen: &mut BTreeMap<String, Seen>, seed: u64, round: &Round) {
    for made in &round.made {
        let seen = seen.entry(made.fault.to_string()).or_default();
        seen.longest = seen.longest.max(made.took);
        match made.failed {
            None => seen.made += 1,
            Some(_) => seen.failed.push(seed),
        }
    }
}

fn show(seed: u64, round: &Round) -> Result<()> {
    screen::result(format!("round {seed}: {} faults in {:.0?}", round.made.len(), round.took))?;
    match &round.proof {
        Ok(proof) => screen::result(proof),
        Err(failed) => screen::result(format!("no proof: {failed:#}")),
    }
}
