//! The configuration as operators meet it: the table, the three spellings, the messages.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use gateway::config::{Config, Errors, Origins, SETTINGS, Setting, Sources, reference, setting};

#[test]
fn every_setting_can_be_set_in_three_spellings() {
    let defaults = Config::default();
    // The file of `config.env_file` has a test of its own.
    for setting in SETTINGS.iter().filter(|it| it.name != "config.env_file") {
        let with = with_what_it_needs(setting);
        let text = toml(&with);
        let file = file_with(&format!("three-{}.toml", setting.flag()), &text);
        let spellings = [
            Sources {
                file: Some(file.clone()),
                ..Sources::default()
            },
            Sources {
                environment: variables(&with),
                ..Sources::default()
            },
            Sources {
                flags: with.iter().map(|s| (*s, s.example.to_owned())).collect(),
                ..Sources::default()
            },
        ];
        let loaded = spellings.map(|sources| Config::load(&sources));
        if setting.built {
            let [file, environment, flags] = loaded.map(Result::unwrap);
            if setting.name == "shards" {
                // The example may be this machine's number of cores.
                assert_eq!(file.shards.get().to_string(), setting.example);
            } else {
                assert_ne!(file, defaults, "{} changes nothing", setting.name);
            }
            assert_eq!(file, environment, "{}", setting.name);
            assert_eq!(file, flags, "{}", setting.name);
            continue;
        }
        let own = setting.toml(setting.example);
        let line = 1 + text.lines().position(|line| line == own).unwrap();
        let places = [
            format!("{}, line {line}", file.display()),
            setting.variable(),
            format!("--{}", setting.flag()),
        ];
        for (errors, place) in loaded.into_iter().zip(places) {
            let refusal = refusal(setting, &place);
            assert!(lines(errors).contains(&refusal), "{refusal}");
        }
    }
}

/// What a program says of a setting that it does not have.
fn refusal(setting: &Setting, place: &str) -> String {
    let name = setting.name;
    match setting.feature {
        Some(feature) => format!(
            "{name}: this program was built without the feature `{feature}` ({place}); the image and the packages \
             have it, and so has what `cargo build --release --features {feature}` makes"
        ),
        None => format!("{name}: not built yet ({place})"),
    }
}

#[test]
fn the_program_has_a_flag_for_every_setting() {
    for setting in SETTINGS {
        let mut arguments = vec!["check-config".to_owned()];
        for setting in with_what_it_needs(setting) {
            arguments.push(format!("--{}={}", setting.flag(), setting.example));
        }
        let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(&arguments)
            .env_clear()
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let is_read = said.contains("No such file") || said.contains("no URL begins with");
        if setting.built && is_read {
            // The file of the example is not there, or the URL of the other one is without TLS.
            assert_eq!(output.status.code(), Some(2), "{said}");
        } else if setting.built {
            assert_eq!(output.status.code(), Some(0), "{said}");
        } else {
            let name = setting.name;
            let refusal = refusal(setting, &format!("--{}", setting.flag()));
            assert_eq!(output.status.code(), Some(2), "{name}");
            assert!(said.contains(&refusal), "{said}");
        }
    }
}

/// The configuration with a secret by its value, and the same with the file that holds it, in each of the
/// three spellings.
fn with_secret_file(secret: &'static Setting, path: &str, value: Option<&str>) -> Vec<Sources> {
    // Tests run side by side, each with secrets of its own names.
    let name = std::path::Path::new(path)
        .file_name()
        .unwrap()
        .to_string_lossy();
    let others: Vec<_> = with_what_it_needs(secret)
        .into_iter()
        .filter(|it| it.name != secret.name)
        .collect();
    let key = secret.file_name().unwrap();
    let mut toml: String = others
        .iter()
        .map(|it| format!("{}.{}\n", it.section().unwrap(), it.toml(it.example)))
        .collect();
    let mut environment = variables(&others);
    let mut flags: Vec<_> = others
        .iter()
        .map(|it| (*it, it.example.to_owned()))
        .collect();
    toml += &format!("{key} = {path:?}\n");
    environment.push((
        format!("{}_FILE", secret.variable()).into(),
        path.to_owned().into(),
    ));
    if let Some(value) = value {
        toml += &format!("{} = {value:?}\n", secret.name);
        environment.push((secret.variable().into(), value.into()));
        flags.push((secret, value.to_owned()));
    }
    vec![
        Sources {
            file: Some(file_with(&format!("{name}.toml"), &toml)),
            ..Sources::default()
        },
        Sources {
            environment,
            ..Sources::default()
        },
        Sources {
            flags,
            secret_files: vec![(secret, path.to_owned())],
            ..Sources::default()
        },
    ]
}

#[test]
fn every_secret_may_stand_in_a_file() {
    let secrets: Vec<_> = SETTINGS.iter().filter(|it| it.secret).collect();
    assert!(secrets.len() >= 5);
    for secret in secrets {
        let by_value = Sources {
            environment: variables(&with_what_it_needs(secret)),
            ..Sources::default()
        };
        let expected = Config::load(&by_value).unwrap();
        for end in ["", "\n", "\r\n", "\n\n"] {
            let content = format!("{}{end}", secret.example);
            let file = file_with(&format!("secret-{}", secret.flag()), &content);
            let path = file.to_str().unwrap();
            for sources in with_secret_file(secret, path, None) {
                let loaded = Config::load(&sources).unwrap();
                assert_eq!(loaded, expected, "{}", secret.name);
                assert_eq!(sources.foreign(), []);
            }
        }
    }
}

#[test]
fn a_file_that_holds_no_secret_is_named_and_never_shown() {
    const WRONG: &str = "hunter2";
    for secret in SETTINGS.iter().filter(|it| it.secret) {
        let name = format!("wrong-{}", secret.flag());
        let two_lines = format!("{}\n{WRONG}", secret.example);
        for (content, problem) in [
            (WRONG, "file of"),
            ("", "is empty"),
            ("\n", "is empty"),
            (&two_lines, "has more than one line"),
            (&WRONG.repeat(10_000), "has more than 65536 bytes"),
        ] {
            let file = file_with(&name, content);
            for sources in with_secret_file(secret, file.to_str().unwrap(), None) {
                let said = lines(Config::load(&sources)).join("\n");
                assert!(said.starts_with(secret.name), "{said}");
                assert!(said.contains(problem), "{problem}: {said}");
                assert!(said.contains(file.to_str().unwrap()), "{said}");
                assert!(!said.contains(WRONG), "{said}");
            }
        }
        for sources in with_secret_file(secret, "/nowhere/secret", None) {
            let said = lines(Config::load(&sources)).join("\n");
            assert!(said.contains("/nowhere/secret cannot be read: "), "{said}");
        }
        let file = file_with(&name, secret.example);
        let both = with_secret_file(secret, file.to_str().unwrap(), Some(secret.example));
        for sources in both {
            let said = lines(Config::load(&sources)).join("\n");
            assert!(
                said.contains(&format!("{}: set twice", secret.name)),
                "{said}"
            );
        }
    }
}

#[test]
fn a_secret_in_a_file_counts_where_its_file_is_named() {
    let file = file_with("counts", "fedcba9876543210");
    let path = file.to_str().unwrap();
    let key = setting("api.key").unwrap();
    let is = |sources: Sources, secret: &str| {
        let config = Config::load(&sources).unwrap();
        assert!(config.api.keys.unwrap().verify(secret.as_bytes()));
    };
    let environment: Vec<(OsString, OsString)> =
        vec![("GATEWAY_API_KEY".into(), "0123456789abcdef".into())];
    is(
        Sources {
            environment: environment.clone(),
            secret_files: vec![(key, path.to_owned())],
            ..Sources::default()
        },
        "fedcba9876543210",
    );
    is(
        Sources {
            file: Some(file_with("key.toml", &format!("api.key_file = {path:?}"))),
            environment,
            ..Sources::default()
        },
        "0123456789abcdef",
    );
    let directory = file.parent().unwrap().as_os_str().to_owned();
    for path in [
        "$CREDENTIALS_DIRECTORY/counts",
        "${CREDENTIALS_DIRECTORY}/counts",
    ] {
        let named: (OsString, OsString) = ("GATEWAY_API_KEY_FILE".into(), path.into());
        let without = Sources {
            environment: vec![named.clone()],
            ..Sources::default()
        };
        let said = lines(Config::load(&without)).join("\n");
        assert!(
            said.contains("systemd sets no CREDENTIALS_DIRECTORY"),
            "{said}"
        );
        is(
            Sources {
                environment: vec![("CREDENTIALS_DIRECTORY".into(), directory.clone()), named],
                ..Sources::default()
            },
            "fedcba9876543210",
        );
    }
}

#[test]
fn a_file_of_variables_counts_more_than_the_file_and_less_than_the_environment() {
    let variables = file_with(
        "variables.env",
        "# comment\n\nexport GATEWAY_ENGINE_PING_INTERVAL='2s'\nOTHER=1\nGATEWAY_SHARDS = \"3\"\n\
         GATEWAY_LOG_LEVEL=\n",
    );
    let path = variables.to_str().unwrap();
    let toml = format!("config.env_file = {path:?}\nengine.ping_interval = \"1s\"\nshards = 1\n");
    let by_file = Sources {
        file: Some(file_with("env.toml", &toml)),
        ..Sources::default()
    };
    let by_variable = Sources {
        environment: vec![("GATEWAY_CONFIG_ENV_FILE".into(), path.into())],
        ..Sources::default()
    };
    let by_flag = Sources {
        flags: vec![(setting("config.env_file").unwrap(), path.to_owned())],
        ..Sources::default()
    };
    for mut sources in [by_file, by_variable, by_flag] {
        let config = Config::load(&sources).unwrap();
        assert_eq!(config.engine.ping_interval, Duration::from_secs(2));
        assert_eq!(config.shards.get(), 3);
        assert_eq!(config.env_file.as_deref(), Some(variables.as_path()));
        let own = ("GATEWAY_SHARDS".into(), "4".into());
        sources.environment.push(own);
        assert_eq!(Config::load(&sources).unwrap().shards.get(), 4);
    }
}

#[test]
fn what_is_wrong_in_a_file_of_variables_has_its_line() {
    let said = |content: &str| {
        let file = file_with("wrong.env", content);
        let path = file.to_str().unwrap();
        let sources = Sources {
            environment: vec![("GATEWAY_CONFIG_ENV_FILE".into(), path.into())],
            ..Sources::default()
        };
        lines(Config::load(&sources))
            .join("\n")
            .replace(path, "FILE")
    };
    for (content, expected) in [
        ("nonsense", "FILE, line 1: is not NAME=VALUE"),
        (
            "\nGATEWAY_LISEN=1",
            "GATEWAY_LISEN: unknown setting (FILE, line 2); the nearest known one is GATEWAY_LISTEN",
        ),
        (
            "GATEWAY_CONFIG=x",
            "FILE, line 1: GATEWAY_CONFIG has no effect here: it counts in the environment alone",
        ),
        (
            "GATEWAY_SHARDS=1\nGATEWAY_SHARDS=2",
            "shards: set twice (FILE, line 2)",
        ),
    ] {
        assert_eq!(said(content), expected);
    }
    assert!(
        said("GATEWAY_SHARDS=99").starts_with("shards: 99 is not between 1 and 64 (FILE, line 1)")
    );
    let sources = Sources {
        environment: vec![("GATEWAY_CONFIG_ENV_FILE".into(), "/nowhere".into())],
        ..Sources::default()
    };
    let said = lines(Config::load(&sources)).join("\n");
    assert!(said.starts_with("/nowhere: cannot be read: "), "{said}");
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let interval = |file: bool, variable: bool, flag: bool| {
        let path = file_with("precedence.toml", "engine.ping_interval = \"1s\"");
        let empty = file_with("empty.toml", "");
        let mut sources = Sources {
            file: Some(if file { path } else { empty }),
            ..Sources::default()
        };
        if variable {
            sources.environment = vec![("GATEWAY_ENGINE_PING_INTERVAL".into(), "2s".into())];
        }
        if flag {
            sources.flags = vec![(setting("engine.ping_interval").unwrap(), "3s".to_owned())];
        }
        Config::load(&sources).unwrap().engine.ping_interval
    };
    assert_eq!(interval(false, false, false), Duration::from_secs(25));
    assert_eq!(interval(true, false, false), Duration::from_secs(1));
    assert_eq!(interval(true, true, false), Duration::from_secs(2));
    assert_eq!(interval(false, true, false), Duration::from_secs(2));
    assert_eq!(interval(true, true, true), Duration::from_secs(3));
    assert_eq!(interval(true, false, true), Duration::from_secs(3));
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = Config::default();
    assert_eq!(config.listen, ([0, 0, 0, 0], 3000).into());
    assert_eq!(config.internal_listen, ([127, 0, 0, 1], 3001).into());
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(config.shards.get(), cores.min(64));
    assert_eq!(config.namespaces.len(), 1);
    assert_eq!(config.namespaces[0].as_str(), "/");
    assert_eq!(config.demo, None);
    assert!(config.is_open_relay());
    assert_eq!(config.client_dir, None);
    assert_eq!(&*config.engine.path, "/socket.io/");
    assert_eq!(config.engine.ping_interval, Duration::from_secs(25));
    assert_eq!(config.engine.ping_timeout, Duration::from_secs(20));
    assert_eq!(config.engine.upgrade_timeout, Duration::from_secs(10));
    assert_eq!(config.engine.connect_timeout, Duration::from_secs(45));
    assert_eq!(config.engine.max_payload, 1_000_000);
    assert!(config.engine.transports.polling && config.engine.transports.websocket);
    assert!(config.engine.allow_upgrades && !config.engine.allow_eio3);
    assert_eq!(config.engine.poll_packets.get(), 16);
    assert_eq!(config.engine.cookie, None);
    assert_eq!(config.cors.origins, Origins::Listed(Vec::new()));
    assert!(!config.cors.credentials);
    assert!(config.proxy.trusted.is_empty() && !config.proxy.protocol);
    assert_eq!(config.limits.connections, None);
    assert_eq!(config.limits.connections_per_ip, None);
    assert_eq!(config.limits.handshakes_per_second, None);
    assert_eq!(config.limits.events_per_second, None);
    assert_eq!(config.limits.outbox_bytes, 16 << 20);
    assert_eq!(config.limits.outbox_patience, Duration::from_secs(10));
    assert!(config.limits.outbox_total >= 1 << 20);
    assert_eq!(config.limits.rooms_per_socket, 1000);
    assert_eq!(config.redis, None);
    assert_eq!(config.cluster.advertise.to_string(), "127.0.0.1:3001");
    assert_eq!(config.api.keys, None);
    assert_eq!(config.backend.webhook, None);
    assert_eq!(config.shutdown.drain, Duration::from_secs(30));
    assert_eq!(config.tls, None);
    assert_eq!(config.log.level.as_str(), "info");
}

#[test]
fn values_are_read_as_what_they_mean() {
    let config = Config::from_toml(
        r#"
        namespaces = ["chat", "/room-*"]
        limits.connections = 1_000
        limits.outbox_bytes = "2MiB"
        shutdown.drain = 0
        [engine]
        path = "/realtime"
        ping_interval = "500ms"
        transports = ["websocket"]
        "#,
    )
    .unwrap();
    assert_eq!(config.namespaces[0].as_str(), "/chat");
    assert!(config.namespaces[1].matches("/room-7"));
    assert_eq!(config.limits.connections.unwrap().get(), 1000);
    assert_eq!(config.limits.outbox_bytes, 2 << 20);
    assert_eq!(config.shutdown.drain, Duration::ZERO);
    assert_eq!(&*config.engine.path, "/realtime/");
    assert_eq!(config.engine.ping_interval, Duration::from_millis(500));
    assert!(!config.engine.transports.polling);
}

#[test]
fn none_takes_a_setting_back_to_having_no_value() {
    let sources = Sources {
        file: Some(file_with("none.toml", "limits.connections = 5")),
        environment: vec![("GATEWAY_LIMITS_CONNECTIONS".into(), "none".into())],
        ..Sources::default()
    };
    assert_eq!(Config::load(&sources).unwrap().limits.connections, None);
    let config = Config::from_toml("limits.connections = \"none\"\nredis.url = \"none\"").unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn an_empty_variable_counts_as_one_that_is_not_there() {
    let all = SETTINGS.iter().map(|s| (s.variable().into(), "".into()));
    let sources = Sources {
        environment: all.collect(),
        ..Sources::default()
    };
    assert_eq!(Config::load(&sources).unwrap(), Config::default());
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    for (text, expected) in [
        (
            "lisen = \"0.0.0.0:1\"",
            "lisen: unknown setting (gateway.toml, line 1); the nearest known one is listen",
        ),
        (
            "\n[engine]\nping_intervall = \"25s\"",
            "engine.ping_intervall: unknown setting (gateway.toml, line 3); the nearest known one \
             is engine.ping_interval",
        ),
        (
            "[engin]\nping_timeout = \"25s\"",
            "engin.ping_timeout: unknown setting (gateway.toml, line 2); the nearest known one is \
             engine.ping_timeout",
        ),
        (
            "[log.levels]",
            "log.levels: unknown setting (gateway.toml, line 1); the nearest known one is \
             log.level",
        ),
        (
            "colour = 1",
            "colour: unknown setting (gateway.toml, line 1); gateway default-config prints all",
        ),
        (
            "[[engine]]\npath = \"/a/\"",
            "engine: is a section of settings, not a setting (gateway.toml, line 1)",
        ),
        (
            "redis = \"redis://localhost\"",
            "redis: is a section of settings, not a setting (gateway.toml, line 1)",
        ),
    ] {
        assert_eq!(lines(Config::from_toml(text)), [expected], "{text}");
    }
}

#[test]
fn a_wrong_value_says_where_it_stands_and_what_would_be_right() {
    for (text, expected) in [
        (
            "engine.ping_interval = 25",
            "engine.ping_interval: 25 has no unit (ms, s, m, h, d): 25s counts seconds, and 25ms \
             milliseconds, as Socket.IO's options do (gateway.toml, line 1); for example ping_interval = \"20s\"",
        ),
        (
            "engine.max_payload = 0x10",
            "engine.max_payload: 16 has no unit (B, kB, KB, MB, GB, KiB, MiB, GiB): 16B counts bytes, \
             as Socket.IO's options do, 16KiB 1024 of them (gateway.toml, line 1); for example max_payload = \"256KiB\"",
        ),
        (
            "engine.ping_interval = 0",
            "engine.ping_interval: 0 is not between 1ms and 1d (gateway.toml, line 1); for \
             example ping_interval = \"20s\"",
        ),
        (
            "engine.ping_interval = 2.5",
            "engine.ping_interval: should be of type duration, not float (gateway.toml, line 1); \
             for example ping_interval = \"20s\"",
        ),
        (
            "shards = 65",
            "shards: 65 is not between 1 and 64 (gateway.toml, line 1); for example shards = 2, or \
             none: the number of cores, at most 64",
        ),
        (
            "shards = 0",
            "shards: 0 is too little, it must be at least 1 (gateway.toml, line 1); for example \
             shards = 2, or none: the number of cores, at most 64",
        ),
        (
            "shards = -1",
            "shards: -1 is not a whole number (gateway.toml, line 1); for example shards = 2, or \
             none: the number of cores, at most 64",
        ),
        (
            "shards = \"2\"",
            "shards: should be of type number, not string (gateway.toml, line 1); for example \
             shards = 2, or none: the number of cores, at most 64",
        ),
        (
            "demo = \"true\"",
            "demo: should be of type boolean, not string (gateway.toml, line 1); for example demo \
             = false, or none: true if clients without a token reach the relay in the namespace `/`, else false",
        ),
        (
            "listen = true",
            "listen: should be of type address, or list of addresses, not boolean (gateway.toml, line 1); for example \
             listen = [\"localhost:8080\", \"unix:/run/gateway/clients.sock:0666\"]",
        ),
        (
            "[listen]\nport = 3000",
            "listen: should be of type address, or list of addresses, not table (gateway.toml, line 1); for example \
             listen = [\"localhost:8080\", \"unix:/run/gateway/clients.sock:0666\"]",
        ),
        (
            "namespaces = \"/\"",
            "namespaces: should be of type list, not string (gateway.toml, line 1); for example \
             namespaces = [\"/\", \"/chat-*\"]",
        ),
        (
            "namespaces = [\"/\", 1]",
            "namespaces: the list's items should be strings, not integer (gateway.toml, line 1); \
             for example namespaces = [\"/\", \"/chat-*\"]",
        ),
        (
            "namespaces = [\"/a,/b\"]",
            "namespaces: \"/a,/b\" has a comma; write an item for each part (gateway.toml, line \
             1); for example namespaces = [\"/\", \"/chat-*\"]",
        ),
        (
            "namespaces = [\"\"]",
            "namespaces: an item of the list is empty (gateway.toml, line 1); for example \
             namespaces = [\"/\", \"/chat-*\"]",
        ),
        (
            "engine.path = \"socket.io\"",
            "engine.path: \"socket.io\" does not begin with / (gateway.toml, line 1); for example \
             path = \"/realtime/\"",
        ),
        (
            "engine.transports = [\"carrier-pigeon\"]",
            "engine.transports: \"carrier-pigeon\" is neither polling nor websocket (gateway.toml, \
             line 1); for example transports = [\"websocket\"]",
        ),
        (
            "cors.origins = [\"example.com\"]",
            "cors.origins: \"example.com\" is not an origin such as https://example.com, \
             https://*.example.com, capacitor:// or null \
             (gateway.toml, line 1); for example origins = [\"https://example.com\", \
             \"http://localhost:8080\"]",
        ),
        (
            "log.level = \"infoo\"",
            "log.level: \"infoo\" is not a level (off, error, warn, info, debug, trace) or a list \
             of component=level (gateway.toml, line 1); for example level = \
             \"info,gateway::session=debug\"",
        ),
        (
            "log.format = \"xml\"",
            "log.format: \"xml\" is neither text nor json (gateway.toml, line 1); for example \
             format = \"json\"",
        ),
        (
            "\"log.format\" = \"json\"\n[log]\nformat = \"text\"",
            "log.format: set twice (gateway.toml, line 3)",
        ),
    ] {
        assert_eq!(lines(Config::from_toml(text)), [expected], "{text}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let same_port = "internal_listen: is the same port as listen; clients must not reach it, so \
                     give it another";
    for (text, expected) in [
        ("internal_listen = \"0.0.0.0:3000\"", same_port),
        ("internal_listen = \"127.0.0.1:3000\"", same_port),
        (
            "cors.credentials = true\ncors.origins = [\"*\"]",
            "cors.credentials: cannot go with \"*\" in cors.origins; list the origins instead",
        ),
    ] {
        assert_eq!(lines(Config::from_toml(text)), [expected], "{text}");
    }
    let page = "listen_health = \"/\"";
    assert_eq!(
        lines(Config::from_toml(page)),
        ["listen_health: is the path of the demo page; set demo to false, or name another path"]
    );
    let without_demo = format!("{page}\ndemo = false");
    assert!(Config::from_toml(&without_demo).is_ok());
    for path in ["/socket.io", "/socket.io/", "/socket.io/health"] {
        let said = lines(Config::from_toml(&format!("listen_health = {path:?}")));
        let expected = "listen_health: is within engine.path";
        assert!(said[0].starts_with(expected), "{path}: {said:?}");
    }
    let two = "listen = \"127.0.0.2:3000\"\ninternal_listen = \"127.0.0.1:3000\"";
    assert!(Config::from_toml(two).is_ok());
    let ephemeral = "listen = \"127.0.0.1:0\"\ninternal_listen = \"127.0.0.1:0\"";
    assert!(Config::from_toml(ephemeral).is_ok());
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let errors = |name: &str, value: &str| {
        lines(Config::load(&Sources {
            environment: vec![(name.into(), value.into())],
            ..Sources::default()
        }))
    };
    assert_eq!(
        errors("GATEWAY_DEMO", "yes"),
        [
            "demo: \"yes\" is neither true nor false (GATEWAY_DEMO); for example GATEWAY_DEMO=false, or none: true if clients without a token \
         reach the relay in the namespace `/`, else false"
        ]
    );
    assert_eq!(
        errors("GATEWAY_CONFIG", "/nonexistent/gateway.toml"),
        ["/nonexistent/gateway.toml: No such file or directory (os error 2)"]
    );
}

#[test]
fn a_variable_that_may_be_somebody_elses_is_a_warning() {
    let warnings = |name: &str, value: &str| {
        let sources = Sources {
            environment: vec![(name.into(), value.into())],
            ..Sources::default()
        };
        assert_eq!(Config::load(&sources), Ok(Config::default()), "{name}");
        let foreign = sources.foreign();
        foreign.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (name, nearest) in [
        (
            "GATEWAY_ENGINE_PING_INTERVALL",
            "; the nearest known one is GATEWAY_ENGINE_PING_INTERVAL",
        ),
        ("GATEWAY_CONFG", "; the nearest known one is GATEWAY_CONFIG"),
        ("GATEWAY_INTERFACE", ""),
    ] {
        let ignored = format!("{name}: ignored, since no setting has this name{nearest}");
        assert_eq!(warnings(name, "CGI/1.1"), [ignored]);
    }
    let nothing: [&str; 0] = [];
    assert_eq!(warnings("GATEWAYS", "1"), nothing);
    assert_eq!(warnings("GATEWAY_SERVICE_HOST", "10.0.0.1"), nothing);
    assert_eq!(warnings("GATEWAY_TYPO", ""), nothing);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let sources = Sources {
        file: Some(file_with(
            "many.toml",
            "shards = 99\nlog.lvl = \"info\"\ntls.cert = \"a\"\ninternal_listen = \"[::]:3000\"",
        )),
        environment: vec![
            ("GATEWAY_NAMESPACE".into(), "/".into()),
            ("GATEWAY_DEMO".into(), "1".into()),
        ],
        flags: vec![(setting("listen").unwrap(), "127.0.0.1:3000".to_owned())],
        ..Sources::default()
    };
    let mut named: Vec<_> = lines(Config::load(&sources))
        .iter()
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    named.sort();
    assert_eq!(
        named,
        ["demo", "internal_listen", "log.lvl", "shards", "tls.cert",]
    );
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_lines() {
    let errors = lines(Config::from_toml("demo = true\nshards = = 2\nlog = [\n"));
    assert!(
        errors[0].starts_with("gateway.toml, line 2: "),
        "{errors:?}"
    );
    assert!(errors.len() > 1, "{errors:?}");
}

#[test]
fn the_printed_file_gives_the_defaults() {
    let file = reference::default_file();
    assert_eq!(Config::from_toml(&file).unwrap(), Config::default());
    let printed = |setting: &&Setting| file.contains(&format!("{} = ", setting.key()));
    assert_eq!(SETTINGS.iter().filter(printed).count(), SETTINGS.len());
}

#[test]
fn every_example_of_the_printed_file_is_right_where_it_stands() {
    let printed = reference::default_file();
    let examples = printed
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.contains(" = "));
    for example in examples {
        let file = printed.replace(&format!("# {example}\n"), &format!("{example}\n"));
        match Config::from_toml(&file) {
            Ok(config) if example.starts_with("shards") => {
                assert_eq!(config.shards.get(), 2);
            }
            Ok(config) => assert_ne!(config, Config::default(), "{example}"),
            Err(errors) => {
                for error in lines(Err(errors)) {
                    let known = [
                        ": not built yet",
                        ": has no effect without ",
                        ": this program was built without ",
                    ];
                    assert!(known.iter().any(|known| error.contains(known)), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_secret_is_in_no_message_about_a_file() {
    const SECRET: &str = "hunter2";
    let secrets: Vec<_> = SETTINGS.iter().filter(|setting| setting.secret).collect();
    assert!(secrets.len() >= 5);
    for setting in secrets {
        let name = setting.name;
        for text in [
            format!("{name} = \"{SECRET}\""),
            format!("{name} = [\"{SECRET}\"]"),
            format!("{name} = {{ {SECRET} = \"{SECRET}\" }}"),
            format!("{name} = \"redis://:{SECRET}@localhost\""),
            format!("{name} = \"redis://:{SECRET}/@localhost\""),
            format!("{name} = \"a long secret {SECRET}\""),
            format!("{name} = \"{SECRET}"),
            format!("{name} = {SECRET}"),
            format!("{name} = '{SECRET}' {SECRET}"),
            format!("{name}x = \"{SECRET}\""),
            format!("{name} = \"a long secret {SECRET}\"\n{name} = \"{SECRET}\""),
        ] {
            let said = match Config::from_toml(&text) {
                Ok(config) => format!("{config:?}"),
                Err(errors) => format!("{errors} {errors:?}"),
            };
            assert!(!said.contains(SECRET), "{said}");
        }
    }
}

/// A setting and those without which it has no effect.
fn with_what_it_needs(setting: &'static Setting) -> Vec<&'static Setting> {
    let mut with = vec![setting];
    let mut next = 0;
    while let Some(setting) = with.get(next) {
        let mut needs = setting.needs.to_vec();
        needs.extend(setting.needs_any.first());
        if setting.name == "redis.url" {
            needs.push("cluster.secret");
        }
        for name in needs {
            if !with.iter().any(|setting| setting.name == name) {
                with.push(SETTINGS.iter().find(|other| other.name == name).unwrap());
            }
        }
        next += 1;
    }
    with
}

fn toml(settings: &[&Setting]) -> String {
    let mut entries: Vec<_> = settings
        .iter()
        .map(|setting| (setting.section(), setting.toml(setting.example)))
        .collect();
    entries.sort();
    let mut text = String::new();
    let mut open = None;
    for (section, line) in &entries {
        if let Some(name) = section.filter(|_| open != *section) {
            text.push_str(&format!("[{name}]\n"));
            open = *section;
        }
        text.push_str(&format!("{line}\n"));
    }
    text
}

fn variables(settings: &[&Setting]) -> Vec<(OsString, OsString)> {
    let variable = |setting: &&Setting| (setting.variable().into(), setting.example.into());
    settings.iter().map(variable).collect()
}

fn lines(loaded: Result<Config, Errors>) -> Vec<String> {
    match loaded {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

fn file_with(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}
