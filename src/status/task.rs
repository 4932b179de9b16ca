//! The tasks of a group at Redis that may fail, and their names in the log.

/// A task that is repeated until it succeeds, with the name of its channel, stream or key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// At this address.
    Start(String),
    Subscribe(String),
    Read(String),
    Append(String),
    /// In this key.
    RenewLease(String),
    /// The leases, takeovers and figures of the stream's group.
    MaintainGroup(String),
    /// After the end of an epoch.
    JoinGroup(String),
    /// Before the current ones expire.
    RenewCredentials,
}

impl Task {
    /// Whether the group receives nothing while this fails.
    pub(super) fn is_receiving(&self) -> bool {
        matches!(self, Self::Subscribe(_) | Self::Read(_) | Self::JoinGroup(_))
    }

    /// Whether a failure of this alone loses only messages that are reported: those of a gap and those that are dropped.
    pub(super) fn loses_only_what_is_reported(&self) -> bool {
        matches!(self, Self::Subscribe(_) | Self::Append(_) | Self::RenewLease(_))
    }

    /// The name in an event's field.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Subscribe(_) => "subscribe",
            Self::Read(_) => "read",
            Self::Append(_) => "append",
            Self::RenewLease(_) => "renew_lease",
            Self::MaintainGroup(_) => "maintain_group",
            Self::JoinGroup(_) => "join_group",
            Self::RenewCredentials => "renew_credentials",
        }
    }

    pub(super) fn channel(&self) -> Option<&str> {
        match self {
            Self::Subscribe(channel) => Some(channel),
            _ => None,
        }
    }

    pub(super) fn stream(&self) -> Option<&str> {
        match self {
            Self::Read(stream)
            | Self::Append(stream)
            | Self::MaintainGroup(stream)
            | Self::JoinGroup(stream) => Some(stream),
            Self::Start(_) | Self::Subscribe(_) | Self::RenewLease(_) | Self::RenewCredentials => None,
        }
    }

    /// The beginning of a sentence about the failure.
    pub(super) fn cannot(&self) -> String {
        match self {
            Self::Start(address) => format!("cannot use Redis at {address} yet"),
            Self::Subscribe(channel) => format!("cannot subscribe to {channel}"),
            Self::Read(stream) => format!("cannot read {stream}"),
            Self::Append(stream) => format!("cannot append to {stream}"),
            Self::RenewLease(key) => format!("cannot renew the lease of the consumer ids in {key}"),
            Self::MaintainGroup(stream) => format!("cannot maintain the group of {stream}"),
            Self::JoinGroup(stream) => format!("cannot join the group of {stream} again"),
            Self::RenewCredentials => "cannot get new credentials before the current ones expire".to_owned(),
        }
    }

    /// The beginning of a sentence about the recovery.
    pub(super) fn works(&self) -> String {
        match self {
            Self::Start(address) => format!("using Redis at {address}"),
            Self::Subscribe(channel) => format!("receiving messages of {channel}"),
            Self::Read(stream) => format!("reading {stream}"),
            Self::Append(stream) => format!("appending to {stream}"),
            Self::RenewLease(key) => format!("renewing the lease of the consumer ids in {key}"),
            Self::MaintainGroup(stream) => format!("maintaining the group of {stream}"),
            Self::JoinGroup(stream) => format!("in the group of {stream}"),
            Self::RenewCredentials => "getting new credentials".to_owned(),
        }
    }
}
