//! What an answer to an export means: the table of OTLP/gRPC's specification (1.8, "Failures").

use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};

/// What to do after an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Everything but so many log records was taken in; never send them again.
    Taken { rejected: u64 },
    /// Send the same again, not before that time, if one is given.
    Again { after: Option<Duration> },
    /// Refused for good.
    Refused,
}

/// `google.rpc.Status`, as it stands in `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// What a status that is not OK means.
pub(super) fn of_status(s: &Status) -> Answer {
    let info = retry_info(s.details());
    let after = info.map(|d| d.min(RETRY_AFTER_MAX));
    match s.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Again { after },
        // only a server that says when is one that recovers
        Code::ResourceExhausted if info.is_some() => Answer::Again { after },
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => Answer::Refused,
    }
}

/// Longest pause that a server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let any = status.details.into_iter().find(|a| a.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(any.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    Duration::try_from(delay).ok()
}

#[cfg(test)]
pub(super) fn details_with_retry(delay: Duration) -> Vec<u8> {
    let info = RetryInfo { retry_delay: prost_types::Duration::try_from(delay).ok() };
    let any =
        prost_types::Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value: info.encode_to_vec() };
    RpcStatus { details: vec![any] }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_is_retried_only_when_the_server_says_when() {
        let s = Status::resource_exhausted("full");
        assert_eq!(of_status(&s), Answer::Refused);
        let details = details_with_retry(Duration::from_millis(1500));
        let s = Status::with_details(Code::ResourceExhausted, "full", details.into());
        assert_eq!(of_status(&s), Answer::Again { after: Some(Duration::from_millis(1500)) });
        let details = details_with_retry(Duration::from_secs(1 << 40));
        let s = Status::with_details(Code::Unavailable, "busy", details.into());
        assert_eq!(of_status(&s), Answer::Again { after: Some(RETRY_AFTER_MAX) });
    }

    #[test]
    fn the_retryable_codes_are_those_of_the_specification() {
        let again = (0..17).filter(|c| matches!(of_status(&Status::new((*c).into(), "")), Answer::Again { .. }));
        // cancelled, deadline exceeded, aborted, out of range, unavailable, data loss
        assert_eq!(again.collect::<Vec<i32>>(), [1, 4, 10, 11, 14, 15]);
    }

    #[test]
    fn garbage_in_the_details_is_no_retry_info() {
        let s = Status::with_details(Code::ResourceExhausted, "", vec![0xff; 40].into());
        assert_eq!(of_status(&s), Answer::Refused);
    }
}
