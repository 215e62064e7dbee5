//! The desired state of a node, on its way to the agent: latest state, not a log.

use muster_proto::agent_v1 as wire;
use muster_store::DesiredState;
use prost::Message as _;

/// Bytes that a frame takes beside its resources.
const FRAME_OVERHEAD: usize = 128;

/// Bytes of resources in one frame, whatever the agent reads at a time.
const FRAME_BYTES: usize = 512 * 1024;

/// Where the agent stands.
#[derive(Debug)]
pub(super) struct Desired {
    /// The version that was sent last, or that the agent has of this history.
    pub(super) sent: u64,
    /// There may be a newer one.
    pub(super) stale: bool,
}

impl Desired {
    /// A difference can build upon `base`, and `latest` is the latest version.
    pub(super) fn new(base: u64, latest: u64) -> Self {
        Desired { sent: base, stale: base != latest }
    }

    /// The frames that carry a state; none if the agent has it already. All but the last say that more follow.
    pub(super) fn frames(&mut self, state: DesiredState, receive_bytes_max: usize) -> Vec<wire::DesiredState> {
        if state.version == self.sent && state.base_version == self.sent {
            return Vec::new();
        }
        self.sent = state.version;
        let bytes_max = FRAME_BYTES.min(receive_bytes_max).saturating_sub(FRAME_OVERHEAD);
        frames(state, bytes_max)
    }
}

fn frames(state: DesiredState, bytes_max: usize) -> Vec<wire::DesiredState> {
    let DesiredState { version, lineage, base_version, gateways, bots, removed_gateways, removed_bots, draining } =
        state;
    let mut chunks = Chunks { frames: vec![wire::DesiredState::default()], bytes: 0, bytes_max };
    for gateway in gateways {
        let gateway = wire::DesiredGateway { id: gateway.id.to_string(), kind: gateway.kind.as_str().to_owned() };
        chunks.add(gateway.encoded_len(), |frame| frame.gateways.push(gateway));
    }
    for bot in bots {
        let bot = wire::DesiredBot {
            id: bot.id.to_string(),
            gateway: bot.gateway.to_string(),
            may_send: bot.may_send,
            connect: bot.connect,
            address: bot.address.map(|address| address.as_str().to_owned()).unwrap_or_default(),
            window_generation: bot.window_generation,
        };
        chunks.add(bot.encoded_len(), |frame| frame.bots.push(bot));
    }
    for id in removed_gateways {
        chunks.add(id.as_str().len(), |frame| frame.removed_gateways.push(id.to_string()));
    }
    for id in removed_bots {
        chunks.add(id.as_str().len(), |frame| frame.removed_bots.push(id.to_string()));
    }
    let last = chunks.frames.len() - 1;
    for (i, frame) in chunks.frames.iter_mut().enumerate() {
        (frame.version, frame.base_version, frame.more) = (version, base_version, i < last);
        (frame.lineage, frame.draining) = (lineage, draining);
    }
    chunks.frames
}

/// Frames that are being filled.
struct Chunks {
    frames: Vec<wire::DesiredState>,
    bytes: usize,
    bytes_max: usize,
}

impl Chunks {
    fn add(&mut self, bytes: usize, put: impl FnOnce(&mut wire::DesiredState)) {
        /// Tag and length of one resource.
        const FIELD_OVERHEAD: usize = 6;
        self.bytes += bytes + FIELD_OVERHEAD;
        if self.bytes > self.bytes_max {
            self.frames.push(wire::DesiredState::default());
            self.bytes = bytes + FIELD_OVERHEAD;
        }
        if let Some(frame) = self.frames.last_mut() {
            put(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{BotId, GatewayId};
    use muster_store::DesiredBot;

    use super::*;

    fn state(version: u64, base_version: u64, bots: usize) -> DesiredState {
        let bot = |i: usize| DesiredBot {
            id: BotId::new(&format!("b{i}")).unwrap(),
            gateway: GatewayId::new("g").unwrap(),
            may_send: true,
            connect: true,
            address: None,
            window_generation: 0,
        };
        let bots = (0..bots).map(bot).collect();
        DesiredState {
            version,
            lineage: 3,
            base_version,
            gateways: vec![],
            bots,
            removed_gateways: vec![],
            removed_bots: vec![BotId::new("z").unwrap()],
            draining: true,
        }
    }

    #[test]
    fn a_large_state_comes_in_frames_that_fit_and_the_last_one_says_so() {
        let frames = Desired::new(0, 7).frames(state(7, 0, 5_000), 64 * 1024);
        assert!(frames.len() > 1);
        assert!(frames.iter().all(|frame| frame.encoded_len() <= 64 * 1024 && frame.version == 7));
        assert!(frames.iter().all(|frame| frame.draining && frame.lineage == 3));
        assert_eq!(frames.iter().map(|frame| frame.bots.len()).sum::<usize>(), 5_000);
        let more: Vec<_> = frames.iter().map(|frame| frame.more).collect();
        assert!(more[..more.len() - 1].iter().all(|more| *more) && !more[more.len() - 1]);
        assert_eq!(frames[frames.len() - 1].removed_bots, ["z"]);
    }

    #[test]
    fn a_state_that_the_agent_has_is_not_sent() {
        let mut desired = Desired::new(7, 7);
        assert!(!desired.stale);
        assert!(desired.frames(DesiredState { removed_bots: vec![], ..state(7, 7, 0) }, 64 * 1024).is_empty());
        assert_eq!(desired.frames(state(8, 7, 1), 64 * 1024).len(), 1);
        assert_eq!(desired.sent, 8);
    }
}
