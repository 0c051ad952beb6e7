//! What each broker and library error means for a record and for the sink: one table.

use rdkafka::types::RDKafkaErrorCode;

/// What an error code means to us. The name of a class is a metric label and a reason in reports; raw error text
/// never is, as it has no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(usize)]
pub enum Class {
    /// Not an error.
    Fine,
    /// Passes by itself; the library tries again.
    Retriable,
    /// No connection, or lost; the library connects again.
    Unreachable,
    /// A broker's name does not resolve.
    NameResolution,
    /// TLS handshake or certificate.
    Tls,
    /// Who we are was refused.
    Authentication,
    /// We are known, but may not do this.
    Authorization,
    /// The library's own queue is full: wait.
    QueueFull,
    /// Given up after its time limit.
    TimedOut,
    /// A message larger than the client, topic or broker takes.
    TooLarge,
    /// The broker refuses the message's timestamp.
    Timestamp,
    /// The broker refuses the message for another reason, or for that of a neighbour in its batch.
    InvalidRecord,
    /// Topic or partition is not there.
    UnknownTopic,
    /// Taken back by us when closing or restarting.
    Purged,
    /// The idempotent producer cannot go on; it is made anew.
    Fatal,
    /// A setting, file or request of ours that the library or this cluster does not take.
    Configuration,
    /// Concerns consumers, transactions or administration; never seen by a producer.
    Foreign,
    /// A code that this table does not know yet.
    Unknown,
}

impl Class {
    /// Every class, in the order of its number.
    pub const ALL: [Class; 18] = [
        Class::Fine,
        Class::Retriable,
        Class::Unreachable,
        Class::NameResolution,
        Class::Tls,
        Class::Authentication,
        Class::Authorization,
        Class::QueueFull,
        Class::TimedOut,
        Class::TooLarge,
        Class::Timestamp,
        Class::InvalidRecord,
        Class::UnknownTopic,
        Class::Purged,
        Class::Fatal,
        Class::Configuration,
        Class::Foreign,
        Class::Unknown,
    ];

    /// Snake case, as in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Fine => "fine",
            Class::Retriable => "retriable",
            Class::Unreachable => "unreachable",
            Class::NameResolution => "name_resolution",
            Class::Tls => "tls",
            Class::Authentication => "authentication",
            Class::Authorization => "authorization",
            Class::QueueFull => "queue_full",
            Class::TimedOut => "timed_out",
            Class::TooLarge => "too_large",
            Class::Timestamp => "timestamp",
            Class::InvalidRecord => "invalid_record",
            Class::UnknownTopic => "unknown_topic",
            Class::Purged => "purged",
            Class::Fatal => "fatal",
            Class::Configuration => "configuration",
            Class::Foreign => "foreign",
            Class::Unknown => "unknown",
        }
    }

    /// Waiting does not help: somebody has to change something.
    pub const fn needs_a_person(self) -> bool {
        matches!(
            self,
            Class::Tls | Class::Authentication | Class::Authorization | Class::UnknownTopic | Class::Configuration
        )
    }
}

/// The class of an error code.
pub fn classify(code: RDKafkaErrorCode) -> Class {
    use RDKafkaErrorCode::*;
    match code {
        NoError | Noop => Class::Fine,

        LeaderNotAvailable
        | NotLeaderForPartition
        | RequestTimedOut
        | ReplicaNotAvailable
        | NotEnoughReplicas
        | NotEnoughReplicasAfterAppend
        | ISRInsufficient
        | CoordinatorLoadInProgress
        | CoordinatorNotAvailable
        | NotCoordinator
        | NotController
        | StaleControllerEpoch
        | StaleBrokerEpoch
        | FencedLeaderEpoch
        | UnknownLeaderEpoch
        | OffsetNotAvailable
        | KafkaStorageError
        | LogDirNotFound
        | ListenerNotFound
        | PreferredLeaderNotAvailable
        | EligibleLeadersNotAvailable
        | ReassignmentInProgress
        | ThrottlingQuotaExceeded
        | ConcurrentTransactions
        | WaitCache
        | WaitingForCoordinator
        | InProgress
        | PreviousInProgress
        | NodeUpdate
        | Outdated
        | Interrupted
        | Retry
        | RebootstrapRequired
        | UnknownTopicId => Class::Retriable,

        BrokerDestroy
        | DestroyBroker
        | BrokerTransportFailure
        | AllBrokersDown
        | BrokerNotAvailable
        | NetworkException
        | UnknownBroker => Class::Unreachable,

        Resolve => Class::NameResolution,

        SSL => Class::Tls,

        Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism | IllegalSASLState => {
            Class::Authentication
        }

        TopicAuthorizationFailed
        | ClusterAuthorizationFailed
        | TransactionalIdAuthorizationFailed
        | GroupAuthorizationFailed
        | PolicyViolation
        | SecurityDisabled => Class::Authorization,

        QueueFull => Class::QueueFull,

        MessageTimedOut | TimedOutQueue | OperationTimedOut => Class::TimedOut,

        MessageSizeTooLarge | MessageBatchTooLarge | InvalidMessageSize => Class::TooLarge,

        InvalidTimestamp => Class::Timestamp,

        InvalidRecord
        | InvalidDifferentRecord
        | InvalidMessage
        | BadMessage
        | BadCompression
        | KeySerialization
        | ValueSerialization => Class::InvalidRecord,

        UnknownTopicOrPartition | UnknownTopic | UnknownPartition | InvalidTopic => Class::UnknownTopic,

        PurgeQueue | PurgeInflight => Class::Purged,

        Fatal
        | GaplessGuarantee
        | Inconsistent
        | OutOfOrderSequenceNumber
        | DuplicateSequenceNumber
        | UnknownProducerId
        | InvalidProducerEpoch
        | InvalidProducerIdMapping
        | ProducerFenced
        | Fenced
        | CriticalSystemResource => Class::Fatal,

        UnsupportedVersion
        | UnsupportedFeature
        | UnsupportedForMessageFormat
        | UnsupportedCompressionType
        | InvalidRequiredAcks
        | InvalidRequest
        | InvalidConfig
        | InvalidArgument
        | InvalidPartitions
        | InvalidReplicationFactor
        | InvalidReplicaAssignment
        | NotImplemented
        | NotConfigured
        | UnknownProtocol
        | FileSystem
        | Conflict
        | State => Class::Configuration,

        PartitionEOF
        | UnknownGroup
        | ExistingSubscription
        | AssignPartitions
        | RevokePartitions
        | NoOffset
        | KeyDeserialization
        | ValueDeserialization
        | Partial
        | ReadOnly
        | NoEnt
        | Underflow
        | InvalidType
        | PollExceeded
        | Application
        | AssignmentLost
        | AutoOffsetReset
        | LogTruncation
        | OffsetOutOfRange
        | OffsetMetadataTooLarge
        | IllegalGeneration
        | InconsistentGroupProtocol
        | InvalidGroupId
        | UnknownMemberId
        | InvalidSessionTimeout
        | RebalanceInProgress
        | InvalidCommitOffsetSize
        | TopicAlreadyExists
        | InvalidTransactionalState
        | InvalidTransactionTimeout
        | TransactionCoordinatorFenced
        | OperationNotAttempted
        | DelegationTokenAuthDisabled
        | DelegationTokenNotFound
        | DelegationTokenOwnerMismatch
        | DelegationTokenRequestNotAllowed
        | DelegationTokenAuthorizationFailed
        | DelegationTokenExpired
        | InvalidPrincipalType
        | NonEmptyGroup
        | GroupIdNotFound
        | FetchSessionIdNotFound
        | InvalidFetchSessionEpoch
        | TopicDeletionDisabled
        | MemberIdRequired
        | GroupMaxSizeReached
        | FencedInstanceId
        | ElectionNotNeeded
        | NoReassignmentInProgress
        | GroupSubscribedToTopic
        | UnstableOffsetCommit
        | ResourceNotFound
        | DuplicateResource
        | UnacceptableCredential
        | InconsistentVoterSet
        | InvalidUpdateVersion
        | FeatureUpdateFailed
        | PrincipalDeserializationFailure
        | FencedMemberEpoch
        | UnreleasedInstanceId
        | UnsupportedAssignor
        | StaleMemberEpoch
        | UnknownSubscriptionId
        | TelemetryTooLarge => Class::Foreign,

        Fail | RDKafkaErrorCode::Unknown => Class::Unknown,
        // the library's enum is open: the test below finds codes that a new version brings
        _ => Class::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::types::RDKafkaRespErr;

    #[test]
    fn every_code_the_library_knows_has_a_class() {
        let mut seen = 0;
        for n in -300..1000 {
            let Ok(code) = RDKafkaRespErr::try_from(n) else { continue };
            let code = RDKafkaErrorCode::from(code);
            // bounds of the enum, "unknown server error" and the generic failure are what they say
            let name = format!("{code:?}");
            if ["Begin", "End", "EndAll", "Fail", "Unknown"].contains(&name.as_str()) {
                continue;
            }
            seen += 1;
            assert_ne!(classify(code), Class::Unknown, "{code}");
        }
        assert!(seen > 150, "{seen}");
    }

    #[test]
    fn names_are_unique_and_numbers_are_positions() {
        for (i, c) in Class::ALL.into_iter().enumerate() {
            assert_eq!(c as usize, i);
            assert_eq!(serde_json::to_value(c).unwrap(), c.name());
        }
        let names: std::collections::BTreeSet<_> = Class::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Class::ALL.len());
    }
}
