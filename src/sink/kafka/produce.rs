//! Messages for librdkafka, their payloads where they are.
//!
//! Why unsafe: the safe crate names the topic with each message, which costs a search under a lock, and copies each
//! payload. Both together cost more than a third of handing a message over. librdkafka reads the payload until it has
//! reported the message; [`Tally`](super::context::Tally) keeps the batch that long.

use std::ffi::{CString, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as sys;
use sys::rd_kafka_vtype_t as tag;

use super::context::{Context, Ticket};

/// A topic of a producer.
pub struct Topic {
    raw: *mut sys::rd_kafka_topic_t,
    /// Outlives `raw`: fields are dropped after [`Topic::drop`].
    producer: Arc<BaseProducer<Context>>,
}

// SAFETY: librdkafka's topics may be used from any thread, and from several at once.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

/// Headers of a message on their way to librdkafka.
pub struct Headers(*mut sys::rd_kafka_headers_t);

/// What a message is besides its topic.
pub struct Outgoing<'a> {
    /// Comes back with its report, and keeps the payload where it is until then.
    pub ticket: Ticket,
    /// What is sent.
    pub payload: &'a [u8],
    /// Partition key, empty for none.
    pub key: &'a [u8],
    /// Milliseconds since the epoch.
    pub timestamp: i64,
}

impl Topic {
    /// A topic by name, with the producer's own settings for topics.
    ///
    /// # Errors
    /// A name that cannot be one.
    pub fn new(producer: Arc<BaseProducer<Context>>, name: &str) -> Result<Topic, String> {
        let c = CString::new(name).map_err(|e| format!("topic `{name}`: {e}"))?;
        // SAFETY: the producer lives as long as the topic; librdkafka copies the name; no settings are given.
        let raw = unsafe { sys::rd_kafka_topic_new(producer.client().native_ptr(), c.as_ptr(), null_mut()) };
        if raw.is_null() {
            // SAFETY: it reads the calling thread's last error.
            return Err(format!("topic `{name}`: {}", RDKafkaErrorCode::from(unsafe { sys::rd_kafka_last_error() })));
        }
        Ok(Topic { raw, producer })
    }

    /// Gives a message to librdkafka; on success the headers are its own, else they are taken for the next try.
    ///
    /// # Safety
    /// The payload stays where it is, unchanged, until the ticket's report has come or the producer is gone.
    ///
    /// # Errors
    /// Why it did not take the message.
    pub unsafe fn produce(&self, m: &Outgoing<'_>, headers: &mut Option<Headers>) -> Result<(), RDKafkaErrorCode> {
        use sys::rd_kafka_vu_s__bindgen_ty_1 as Value;
        let given = |vtype, u| sys::rd_kafka_vu_t { vtype, u };
        let bytes = |b: &[u8]| Value {
            mem: sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: b.as_ptr() as *mut c_void, size: b.len() },
        };
        let mut all = [
            given(tag::RD_KAFKA_VTYPE_RKT, Value { rkt: self.raw }),
            given(tag::RD_KAFKA_VTYPE_VALUE, bytes(m.payload)),
            given(tag::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: m.ticket.word() as *mut c_void }),
            given(tag::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: m.timestamp }),
            given(tag::RD_KAFKA_VTYPE_END, Value { i: 0 }),
            given(tag::RD_KAFKA_VTYPE_END, Value { i: 0 }),
        ];
        let mut n = 4;
        if !m.key.is_empty() {
            all[n] = given(tag::RD_KAFKA_VTYPE_KEY, bytes(m.key));
            n += 1;
        }
        if let Some(h) = &headers {
            all[n] = given(tag::RD_KAFKA_VTYPE_HEADERS, Value { headers: h.0 });
            n += 1;
        }
        // SAFETY: `all` holds `n` values, each with the part of the union that its tag names; topic and producer are
        // alive; the key is copied; the payload's life is the caller's promise.
        unsafe {
            let error = sys::rd_kafka_produceva(self.producer.client().native_ptr(), all.as_ptr(), n);
            if error.is_null() {
                // librdkafka frees them with the message
                std::mem::forget(headers.take());
                return Ok(());
            }
            let code = sys::rd_kafka_error_code(error);
            sys::rd_kafka_error_destroy(error);
            Err(code.into())
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, destroyed once; the producer is still there.
        unsafe { sys::rd_kafka_topic_destroy(self.raw) }
    }
}

impl Headers {
    /// None yet, with room for some.
    pub fn new() -> Headers {
        // SAFETY: it only allocates, and ends the process where it cannot.
        Headers(unsafe { sys::rd_kafka_headers_new(3) })
    }
    /// Adds one.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        let (len, size) = (name.len() as isize, value.len() as isize);
        // SAFETY: the list is alive; name and value are copied with the lengths given.
        let code = unsafe { sys::rd_kafka_header_add(self.0, name.as_ptr().cast(), len, value.as_ptr().cast(), size) };
        // it refuses lists of other kinds only: those of messages that were read
        debug_assert_eq!(RDKafkaErrorCode::from(code), RDKafkaErrorCode::NoError);
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_headers_new`; what librdkafka took was forgotten.
        unsafe { sys::rd_kafka_headers_destroy(self.0) }
    }
}
