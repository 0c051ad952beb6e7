//! Messages as log records: resource per host, scope per source.

use std::collections::HashMap;

use super::OtlpOptions;
use crate::batch::{Batch, Message};
use crate::proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use crate::proto::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use crate::proto::opentelemetry::proto::resource::v1::Resource;
use crate::sink::{DeliveryInfo, Headers, RunInfo};

/// Collects messages of one delivery into a request.
pub(super) struct Encoder<'a> {
    pub(super) options: &'a OtlpOptions,
    pub(super) info: &'a DeliveryInfo,
    pub(super) run: &'a RunInfo,
    request: ExportLogsServiceRequest,
    by_key: HashMap<Vec<u8>, usize>,
}

fn text(s: impl Into<String>) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(s.into())) })
}

fn pair(key: &str, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

/// Text where it is text; OTLP strings are UTF-8, and a payload is never altered.
fn body(bytes: &[u8]) -> Option<AnyValue> {
    match std::str::from_utf8(bytes) {
        Ok(s) => text(s),
        Err(_) => Some(AnyValue { value: Some(Value::BytesValue(bytes.into())) }),
    }
}

impl<'a> Encoder<'a> {
    pub(super) fn new(options: &'a OtlpOptions, info: &'a DeliveryInfo, run: &'a RunInfo) -> Encoder<'a> {
        Encoder { options, info, run, request: ExportLogsServiceRequest::default(), by_key: HashMap::new() }
    }
    /// Adds a message. Those with one key stay in order.
    pub(super) fn add(&mut self, m: &Message, key: &[u8], payload: &[u8], truth: &[u8]) {
        let at = match self.by_key.get(key) {
            Some(at) => *at,
            None => {
                let at = self.request.resource_logs.len();
                let resource = self.resource(key);
                self.request.resource_logs.push(resource);
                self.by_key.insert(key.to_vec(), at);
                at
            }
        };
        let (id, mut attributes) = (m.id, vec![]);
        if self.info.headers != Headers::None {
            attributes.push(pair("log.record.uid", text(format!("{}.{id}", self.run.id))));
            if m.records > 1 {
                let records = AnyValue { value: Some(Value::IntValue(m.records.into())) };
                attributes.push(pair("skirmish.records", Some(records)));
            }
        }
        if self.info.headers == Headers::Truth {
            let attack = AnyValue { value: Some(Value::BoolValue(m.attack > 0)) };
            attributes.push(pair("skirmish.attack", Some(attack)));
            if !truth.is_empty() {
                attributes.push(pair("skirmish.truth", body(truth.trim_ascii_end())));
            }
        }
        let record = LogRecord {
            time_unix_nano: m.event.0.max(0) as u64,
            observed_time_unix_nano: m.release.0.max(0) as u64,
            severity_number: m.severity.into(),
            severity_text: severity_text(m.severity).into(),
            body: body(payload),
            attributes,
            ..LogRecord::default()
        };
        self.request.resource_logs[at].scope_logs[0].log_records.push(record);
    }
    pub(super) fn finish(self) -> ExportLogsServiceRequest {
        self.request
    }
    fn resource(&self, key: &[u8]) -> ResourceLogs {
        let mut attributes = vec![pair("service.name", text(&self.options.service_name))];
        if self.info.key_is_host && !key.is_empty() {
            attributes.push(pair("host.name", body(key)));
        }
        if !self.info.os.is_empty() {
            attributes.push(pair("os.type", text(&self.info.os)));
        }
        if self.info.headers != Headers::None {
            attributes.push(pair("skirmish.run", text(&self.run.id)));
            attributes.push(pair("skirmish.stream", text(&self.info.stream)));
        }
        let scope = InstrumentationScope {
            name: self.info.source.clone(),
            attributes: vec![pair("encoding", text(&self.info.encoding))],
            ..InstrumentationScope::default()
        };
        ResourceLogs {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_logs: vec![ScopeLogs { scope: Some(scope), ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }
    }
}

/// The short names of OpenTelemetry's log data model.
fn severity_text(n: u8) -> &'static str {
    match n {
        1..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => "",
    }
}

/// About how many bytes a message takes in a request: payload, truth and what stands around them.
pub(super) fn size(batch: &Batch, i: usize) -> usize {
    const AROUND: usize = 160;
    let truth = batch.messages[i].truth_end - if i == 0 { 0 } else { batch.messages[i - 1].truth_end };
    batch.payload(i).len() + truth as usize + AROUND
}
