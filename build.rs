//! Compiles `proto/` with protox, so that nobody needs protoc.

use std::path::PathBuf;

use protox::prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let own = ["record", "ingest", "records", "control"].map(|f| format!("skirmish/v1/{f}.proto"));
    // what reflection serves
    std::fs::write(out.join("skirmish.binpb"), protox::compile(&own, ["proto"])?.encode_to_vec())?;
    let all = own.iter().map(String::as_str).chain(["opentelemetry/proto/collector/logs/v1/logs_service.proto"]);
    tonic_prost_build::configure()
        .bytes(".skirmish.v1.Message")
        .btree_map(".skirmish.v1")
        // its comments hold indented text that rustdoc would take for code
        .disable_comments([".opentelemetry"])
        .include_file("protos.rs")
        .compile_fds(protox::compile(all, ["proto"])?)?;
    Ok(())
}
