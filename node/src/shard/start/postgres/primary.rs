//! Which of the servers that a source names is its primary: everything that a shard does at its source
//! is done there.

use tidewire_node_core::facts::{ServerFacts, TimelineEnd};
use tidewire_node_core::reconnect::primary_of;
use tidewire_postgres::{Source, Sql, Writable};
use tidewire_shared::{Fault, FaultKind, PgPosition};

/// The primary of a source.
pub(super) struct Primary {
    /// The source, at this server alone.
    pub(super) source: Source,
    pub(super) sql: Sql,
    /// Who was passed over, and why, as lines for the log of the task.
    pub(super) told: Vec<String>,
}

impl Primary {
    /// Asks every server that accepts writes, where there are several: an old primary that was started
    /// again does, beside the standby that took its place.
    pub(super) async fn of(
        mut writable: Vec<Writable>,
        position: Option<&PgPosition>,
    ) -> Result<Self, Fault> {
        if writable.len() == 1
            && let Some(Writable { source, sql }) = writable.pop()
        {
            return Ok(Self { source, sql, told: Vec::new() });
        }
        let (mut servers, mut asked, mut told) = (Vec::new(), Vec::new(), Vec::new());
        let mut silent = None;
        for one in writable {
            match ask(&one.source).await {
                Ok(server) => {
                    servers.push(server);
                    asked.push(one);
                }
                Err(fault) => {
                    told.push(format!("passes over {}: {fault}", one.sql.host()));
                    silent = Some(fault);
                }
            }
        }
        let Some(chosen) = primary_of(position, &servers) else {
            return Err(silent.unwrap_or_else(|| {
                Fault::new(FaultKind::SourceUnreachable, "source", "has no server that answers")
            }));
        };
        let Writable { source, sql } = asked.remove(chosen);
        let of = |at: usize| servers.get(at).map(|(server, _)| (server.timeline, server.system_id));
        let ours = of(chosen);
        for (at, other) in asked.iter().enumerate() {
            let theirs = of(if at < chosen { at } else { at + 1 });
            if let (Some((timeline, system)), Some((our_timeline, our_system))) = (theirs, ours) {
                let which = if system == our_system {
                    format!("is on timeline {timeline}")
                } else {
                    format!("is another server, with system identifier {system}")
                };
                told.push(format!(
                    "passes over {}, which accepts writes too: it {which}; follows {}, on timeline \
                     {our_timeline}",
                    other.sql.host(),
                    sql.host()
                ));
            }
        }
        Ok(Self { source, sql, told })
    }
}

async fn ask(source: &Source) -> Result<(ServerFacts, Vec<TimelineEnd>), Fault> {
    let mut client = source.replicate().await?;
    let server = client.server().await?;
    let history = client.timeline_history(server.timeline).await?;
    Ok((server, history))
}
