/// Why a session ended.
#[expect(
    clippy::exhaustive_enums,
    reason = "a reason has its names and its log level, and new ones get theirs"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// A poll was aborted or overlapped another, a frame broke RFC 6455 or was too big, a heartbeat
    /// came in the wrong direction.
    TransportError,
    /// The client closed, or its connection broke.
    TransportClose,
    /// We closed: the application asked, or a Socket.IO packet was not legal.
    ForcedClose,
    /// A ping was not answered in time.
    PingTimeout,
    /// An undecodable Engine.IO packet.
    ParseError,
    /// No namespace was joined in time.
    ConnectTimeout,
    /// The client read too slowly: its outbox passed the limit.
    SlowConsumer,
    /// The node stops.
    ServerShuttingDown,
    /// The client's token has expired.
    TokenExpired,
    /// Other nodes have fewer connections: the client is to come back at one of them.
    Rebalanced,
    /// The client's user is blocked, or its token is revoked.
    Blocked,
}

impl CloseReason {
    /// Every reason, for metrics with one series for each.
    pub const ALL: [Self; 11] = [
        Self::TransportError,
        Self::TransportClose,
        Self::ForcedClose,
        Self::PingTimeout,
        Self::ParseError,
        Self::ConnectTimeout,
        Self::SlowConsumer,
        Self::ServerShuttingDown,
        Self::TokenExpired,
        Self::Rebalanced,
        Self::Blocked,
    ];

    /// Whether the client is to come back, by whatever library it uses. Those for JavaScript come back
    /// after every close. Those for Python and Rust take the close packet of a poll for the end, and
    /// come back after a poll that failed.
    pub fn invites_back(self) -> bool {
        match self {
            Self::PingTimeout
            | Self::SlowConsumer
            | Self::ServerShuttingDown
            | Self::TokenExpired
            | Self::Rebalanced => true,
            Self::TransportError
            | Self::TransportClose
            | Self::ForcedClose
            | Self::ParseError
            | Self::ConnectTimeout
            | Self::Blocked => false,
        }
    }

    /// What Node's `disconnect` event calls it. Some reasons are ours alone and go by the name of
    /// what Node does in their place.
    pub fn as_node(self) -> &'static str {
        match self {
            Self::TransportError | Self::SlowConsumer => "transport error",
            Self::TransportClose => "transport close",
            Self::ForcedClose | Self::ConnectTimeout | Self::TokenExpired | Self::Blocked => {
                "forced close"
            }
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ServerShuttingDown | Self::Rebalanced => "server shutting down",
        }
    }

    /// Its value of the metric label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::TransportError => "transport_error",
            Self::TransportClose => "transport_close",
            Self::ForcedClose => "forced_close",
            Self::PingTimeout => "ping_timeout",
            Self::ParseError => "parse_error",
            Self::ConnectTimeout => "connect_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::ServerShuttingDown => "server_shutting_down",
            Self::TokenExpired => "token_expired",
            Self::Rebalanced => "rebalanced",
            Self::Blocked => "blocked",
        }
    }
}
