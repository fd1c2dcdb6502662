//! How old brokers are. They do not say it, but which versions of each request they know, and librdkafka
//! names those in lines for developers that a client can be made to say (seen with librdkafka 2.12).

use tidewire_node_core::facts::Release;

/// What librdkafka calls its lines about requests that a broker knows.
pub(crate) const VERSIONS_LINE: &str = "APIVERSION";

/// The newest versions of some requests that every broker knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    metadata: Option<u16>,
    init_producer_id: Option<u16>,
}

impl Known {
    /// Takes what a line of [`VERSIONS_LINE`] says; any other line is left alone.
    pub(crate) fn note(&mut self, line: &str) {
        let Some((request, newest)) = told_by(line) else { return };
        let known = match request {
            "Metadata" => &mut self.metadata,
            "InitProducerId" => &mut self.init_producer_id,
            _ => return,
        };
        // The oldest broker decides.
        *known = Some(known.map_or(newest, |known| known.min(newest)));
    }

    /// The release that every broker has reached; none before one was asked.
    pub(crate) fn release(&self) -> Option<Release> {
        Some(match self.metadata? {
            ..3 => Release::V0_10,
            3..5 => Release::V0_11,
            5..8 => Release::V1_0,
            9 if self.init_producer_id.is_some_and(|newest| newest >= 3) => Release::V2_5,
            8..10 => Release::V2_3,
            10.. => Release::V2_8,
        })
    }
}

/// Name and newest version of `…:   ApiKey InitProducerId (22) Versions 0..5`.
fn told_by(line: &str) -> Option<(&str, u16)> {
    let (_, rest) = line.split_once("ApiKey ")?;
    let (request, rest) = rest.split_once(" (")?;
    let (_, newest) = rest.split_once("..")?;
    Some((request, newest.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(metadata: u16, init_producer_id: Option<u16>) -> Option<Release> {
        let mut known = Known::default();
        let at = "[thrd:127.0.0.1:9092/bootstrap]: 127.0.0.1:9092/bootstrap:   ApiKey";
        known.note(&format!("{at} Metadata (3) Versions 0..{metadata}"));
        if let Some(newest) = init_producer_id {
            known.note(&format!("{at} InitProducerId (22) Versions 0..{newest}"));
        }
        known.release()
    }

    #[test]
    fn requests_tell_the_release() {
        use Release::{V0_10, V0_11, V1_0, V2_3, V2_5, V2_8};
        let cases = [
            (2, None, V0_10),
            (4, Some(0), V0_11),
            (6, Some(0), V1_0),
            (8, Some(1), V2_3),
            (9, Some(2), V2_3),
            (9, Some(3), V2_5),
            (13, Some(5), V2_8),
        ];
        for (metadata, init, expected) in cases {
            assert_eq!(release(metadata, init), Some(expected), "{metadata}, {init:?}");
        }
    }

    #[test]
    fn the_oldest_broker_decides_and_other_lines_are_left_alone() {
        let mut known = Known::default();
        for line in ["", "Broker API support:", "ApiKey ", "ApiKey Fetch (1) Versions 0..17"] {
            known.note(line);
        }
        assert_eq!(known.release(), None);
        known.note("ApiKey Metadata (3) Versions 0..13");
        known.note("ApiKey Metadata (3) Versions 0..5");
        assert_eq!(known.release(), Some(Release::V1_0));
    }
}
