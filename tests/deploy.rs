//! What can be said about `deploy/` and the Dockerfile on a machine without Docker, systemd or a cluster.

use skirmish::yaml::{self, Data, Node};

fn text(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn documents(path: &str) -> Vec<Node> {
    yaml::parse(path, &text(path)).unwrap_or_else(|p| panic!("{p}"))
}

fn at<'a>(node: &'a Node, path: &str) -> &'a Node {
    path.split('/').fold(node, |n, key| {
        let found = match key.parse::<usize>() {
            Ok(i) => n.items().get(i),
            Err(_) => n.get(key),
        };
        found.unwrap_or_else(|| panic!("{path}: no `{key}`"))
    })
}

fn str_at<'a>(node: &'a Node, path: &str) -> &'a str {
    at(node, path).as_str().unwrap_or_else(|| panic!("{path} is no text"))
}

/// Loads a run configuration as `check` does before it looks at sources.
fn assert_loads(name: &str, text: &str) {
    let node = yaml::parse(name, text).unwrap_or_else(|p| panic!("{p}")).remove(0);
    #[cfg(feature = "kafka")]
    skirmish::config::Config::from_node(node).unwrap_or_else(|p| panic!("{p}"));
    #[cfg(not(feature = "kafka"))]
    drop(node);
}

/// Ports that a configuration binds, which its container must open.
fn ports(config: &str) -> Vec<String> {
    let node = yaml::parse("config", config).unwrap().remove(0);
    ["control/listen", "control/metrics"].map(|p| str_at(&node, p).rsplit(':').next().unwrap().to_owned()).into()
}

#[test]
fn the_compose_file_fits_its_configuration_and_the_dockerfile() {
    let doc = documents("deploy/compose.yaml").remove(0);
    let config = text("deploy/skirmish.yaml");
    assert_loads("deploy/skirmish.yaml", &config);
    let service = at(&doc, "services/skirmish");
    assert_eq!(str_at(service, "build/dockerfile"), "Dockerfile");
    assert_eq!(str_at(service, "depends_on/kafka/condition"), "service_healthy");
    assert!(at(&doc, "services/kafka").get("healthcheck").is_some(), "or it would never be healthy");
    assert!(str_at(&doc, "services/kafka/image").starts_with("apache/kafka:4."));
    let published: Vec<&str> = at(service, "ports").items().iter().filter_map(Node::as_str).collect();
    for port in ports(&config) {
        assert!(published.contains(&format!("127.0.0.1:{port}:{port}").as_str()), "{port} is not reachable");
    }
    // each named volume is declared, each bound file is there
    let mut volumes = vec![];
    for s in ["kafka", "skirmish"] {
        volumes.extend(at(&doc, &format!("services/{s}/volumes")).items().iter().filter_map(Node::as_str));
    }
    for v in volumes {
        match v.split(':').next().unwrap() {
            file if file.starts_with("./") => assert!(!text(&format!("deploy/{file}")).is_empty()),
            name => assert!(at(&doc, "volumes").get(name).is_some(), "volume {name}"),
        }
    }
    // what the broker keeps is on its volume
    let dirs = str_at(&doc, "services/kafka/environment/KAFKA_LOG_DIRS");
    assert_eq!(str_at(&doc, "services/kafka/volumes/0").split(':').nth(1), Some(dirs));
    // the broker that the configuration names is the one that runs, on a listener inside the network
    let broker = yaml::parse("c", &config).unwrap().remove(0);
    let broker = str_at(&broker, "sinks/main/kafka/brokers").to_owned();
    let advertised = str_at(&doc, "services/kafka/environment/KAFKA_ADVERTISED_LISTENERS");
    assert!(advertised.contains(&format!("://{broker}")), "{broker} is not among {advertised}");
}

#[test]
fn the_dockerfile_is_multi_stage_rootless_and_checks_itself() {
    let lines: Vec<String> = text("Dockerfile").replace("\\\n", " ").lines().map(str::to_owned).collect();
    let of = |word: &str| lines.iter().filter(|l| l.split(' ').next() == Some(word)).cloned().collect::<Vec<_>>();
    let known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ];
    for l in lines.iter().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        assert!(known.contains(&l.split(' ').next().unwrap()), "{l}");
    }
    let cargo = text("Cargo.toml");
    let rust = cargo.lines().find_map(|l| l.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert_eq!(of("FROM").len(), 2);
    assert!(of("FROM")[0].starts_with(&format!("FROM rust:{rust}")), "the compiler is the one Cargo.toml asks for");
    assert!(of("FROM")[1].ends_with(":nonroot") && of("USER") == ["USER nonroot:nonroot"]);
    assert!(of("HEALTHCHECK")[0].contains(r#"["/usr/local/bin/skirmish", "ctl", "status"]"#));
    assert!(of("ENTRYPOINT") == [r#"ENTRYPOINT ["/usr/local/bin/skirmish"]"#]);
    // what the build needs is not kept out of it: data folders are embedded in the binary
    let ignored = text(".dockerignore");
    for needed in ["src", "proto", "config", "sources", "effects", "scenarios", "world", "Cargo.lock", "build.rs"] {
        assert!(!ignored.lines().any(|l| l == needed), "{needed}");
    }
}

#[test]
fn the_kubernetes_manifests_refer_to_each_other() {
    let docs = documents("deploy/kubernetes.yaml");
    let of = |kind: &str| docs.iter().find(|d| str_at(d, "kind") == kind).unwrap_or_else(|| panic!("no {kind}"));
    for d in &docs {
        assert!(d.get("apiVersion").is_some() && at(d, "metadata").get("name").is_some());
        if str_at(d, "kind") != "Namespace" {
            assert_eq!(str_at(d, "metadata/namespace"), str_at(of("Namespace"), "metadata/name"));
        }
    }
    let config = str_at(of("ConfigMap"), "data/skirmish.yaml");
    assert_loads("deploy/kubernetes.yaml: skirmish.yaml", config);
    let pod = at(of("Deployment"), "spec/template/spec");
    let c = at(pod, "containers/0");
    let label = "app.kubernetes.io/name";
    let name = at(of("Deployment"), "spec/template/metadata/labels").get(label).and_then(Node::as_str);
    for selector in [at(of("Deployment"), "spec/selector/matchLabels"), at(of("Service"), "spec/selector")] {
        assert_eq!(selector.get(label).and_then(Node::as_str), name);
    }
    let open: Vec<&str> = at(c, "ports").items().iter().map(|p| str_at(p, "containerPort")).collect();
    assert_eq!(open, ports(config));
    let named: Vec<&str> = at(c, "ports").items().iter().map(|p| str_at(p, "name")).collect();
    for p in at(of("Service"), "spec/ports").items() {
        assert!(named.contains(&str_at(p, "targetPort")));
    }
    for probe in ["startupProbe", "livenessProbe"] {
        assert_eq!(str_at(c, &format!("{probe}/httpGet/path")), "/healthz");
        assert!(named.contains(&str_at(c, &format!("{probe}/httpGet/port"))));
    }
    let volumes: Vec<&str> = at(pod, "volumes").items().iter().map(|v| str_at(v, "name")).collect();
    let mounted: Vec<&str> = at(c, "volumeMounts").items().iter().map(|m| str_at(m, "name")).collect();
    assert_eq!(volumes, mounted);
    assert_eq!(str_at(pod, "volumes/0/configMap/name"), str_at(of("ConfigMap"), "metadata/name"));
    let claim = str_at(of("PersistentVolumeClaim"), "metadata/name");
    assert_eq!(str_at(pod, "volumes/1/persistentVolumeClaim/claimName"), claim);
    // every folder the configuration names is mounted
    let folders: Vec<&str> = at(c, "volumeMounts").items().iter().map(|m| str_at(m, "mountPath")).collect();
    for path in ["/run/secrets/kafka", "/var/lib/skirmish"] {
        assert!(config.contains(path) && folders.contains(&path));
    }
    assert_eq!(str_at(pod, "securityContext/runAsNonRoot"), "true");
    assert_eq!(str_at(of("Deployment"), "spec/strategy/type"), "Recreate");
    assert!(matches!(at(c, "securityContext/capabilities/drop").data, Data::Seq(_)));
}

#[test]
fn the_systemd_unit_is_well_formed() {
    let unit = text("deploy/skirmish.service");
    let mut section = String::new();
    let mut seen = std::collections::BTreeMap::new();
    for l in unit.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(name) = l.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            assert!(["Unit", "Service", "Install"].contains(&name), "{name}");
            section = name.into();
            continue;
        }
        let (key, value) = l.split_once('=').unwrap_or_else(|| panic!("{l}"));
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric()), "{key}");
        assert!(seen.insert(format!("{section}.{key}"), value).is_none(), "{key} twice");
    }
    assert!(seen["Service.ExecStart"].starts_with("/usr/local/bin/skirmish run "));
    assert_eq!(seen["Service.KillSignal"], "SIGTERM");
    assert_eq!((seen["Service.DynamicUser"], seen["Service.NoNewPrivileges"]), ("yes", "yes"));
    assert_eq!(seen["Service.RestartPreventExitStatus"], "2", "exit code of a wrong configuration");
}
