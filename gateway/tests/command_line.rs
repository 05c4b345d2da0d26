//! The command line, and the commands that need no server.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gateway::config::SETTINGS;

#[test]
fn the_reference_in_docs_is_what_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let output = gateway(&["default-config", "--markdown"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        std::fs::read(&path).unwrap() == output.stdout,
        "run: cargo run -- default-config --markdown > docs/configuration.md"
    );
}

#[test]
fn the_commands_of_the_pages_are_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        pages.push(entry.unwrap().path());
    }
    // Its commands rest on those before them; the suite `examples` runs them all.
    pages.retain(|page| !page.ends_with("docs/cookbook.md"));
    let mut tried = 0;
    for page in pages
        .iter()
        .filter(|it| it.extension() == Some("md".as_ref()))
    {
        let text = std::fs::read_to_string(page).unwrap();
        for command in text.replace("\\\n", " ").lines() {
            let Some(words) = command.trim().strip_prefix("$ ").map(words) else {
                continue;
            };
            let is_variable = |word: &&String| word.starts_with("GATEWAY_") && word.contains('=');
            let variables: Vec<&String> = words.iter().take_while(is_variable).collect();
            let mut rest = words[variables.len()..].iter();
            // A command of its own is tried elsewhere; `gateway` alone, or with flags, starts a node.
            if rest.next().is_none_or(|it| it != "gateway")
                || rest
                    .as_slice()
                    .first()
                    .is_some_and(|it| !it.starts_with("--"))
                || rest.as_slice().iter().any(|it| it == "--help")
            {
                continue;
            }
            let arguments = ["check-config"].map(str::to_owned).into_iter();
            let arguments: Vec<String> = arguments.chain(rest.cloned()).collect();
            let variables = variables.iter().map(|it| it.split_once('=').unwrap());
            let output = gateway(&arguments, &variables.collect::<Vec<_>>());
            let place = page.display();
            assert_eq!(
                output.status.code(),
                Some(0),
                "{place}: {command}: {}",
                stderr(&output)
            );
            tried += 1;
        }
    }
    assert!(tried >= 8, "{tried}");
}

/// The words of a command, as a shell takes them.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for it in command.chars() {
        match quote {
            Some(end) if it == end => quote = None,
            None if it == '\'' || it == '"' => quote = Some(it),
            None if it == ' ' => words.push(std::mem::take(&mut word)),
            _ => word.push(it),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn check_config_accepts_what_default_config_prints() {
    let output = gateway(&["default-config"], &[]);
    let file = file_with("printed.toml", std::str::from_utf8(&output.stdout).unwrap());
    let output = gateway(&["check-config".as_ref(), file.as_os_str()], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line = format!("{}: no errors\n", file.display());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), line);
}

#[test]
fn check_config_ends_with_2_and_all_errors() {
    let file = file_with("wrong.toml", "shards = 99\ndemo = 1\n").into_os_string();
    for arguments in [
        vec!["check-config".into(), file.clone()],
        vec!["check-config".into(), "--config".into(), file.clone()],
        vec!["serve".into(), "--config".into(), file.clone()],
        vec!["--config".into(), file],
    ] {
        let output = gateway(&arguments, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        assert_eq!(stderr(&output).lines().count(), 2, "{}", stderr(&output));
    }
    let missing = gateway(&["check-config", "missing.toml"], &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).starts_with("missing.toml: "));
}

#[test]
fn check_config_finds_what_the_start_refuses_and_both_end_with_2() {
    let words = file_with("words.pem", "words");
    let words = words.to_str().unwrap();
    let missing = ["--tls-cert=missing.crt", "--tls-key=missing.key"];
    let two = [&missing[..], &["--redis-url=redis://a:x"]].concat();
    for (flags, complaints) in [
        (
            &["--redis-url=redis://a:x"][..],
            &["redis.url: the port"][..],
        ),
        (&["--redis-url=redis://a/x"], &["redis.url: "]),
        (
            &["--redis-url=redis://a/1"],
            &["redis.url: database 1 in the Redis URL does not keep clusters apart"],
        ),
        (&["--redis-url=redis+sentinel://a:1"], &["redis.url: "]),
        (&missing, &["missing.crt (tls.cert)"]),
        (&two, &["missing.crt (tls.cert)", "redis.url: the port"]),
        (
            &[
                &format!("--tls-cert={words}"),
                &format!("--tls-key={words}"),
            ],
            &["(tls.cert)"],
        ),
        (
            &[&format!("--auth-jwt-public-key={words}")],
            &["auth.jwt_public_key: "],
        ),
        (&["--client-dir=missing"], &["missing"]),
    ] {
        for command in ["check-config", "serve"] {
            let listen = ["--listen=127.0.0.1:0", "--internal-listen=127.0.0.1:0"];
            let output = gateway(&[&[command], &listen[..], flags].concat(), &[]);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{command} {flags:?}: {said}");
            for complaint in complaints {
                assert!(said.contains(complaint), "{command} {flags:?}: {said}");
            }
        }
    }
}

#[test]
fn an_address_that_is_taken_is_no_mistake_of_the_configuration() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let flags = [listen.as_str(), "--internal-listen=127.0.0.1:0"];
    let checked = gateway(&[&["check-config"], &flags[..]].concat(), &[]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let served = gateway(&[&["serve"], &flags[..]].concat(), &[]);
    assert_eq!(served.status.code(), Some(1), "{}", stderr(&served));
}

#[test]
fn a_foreign_variable_is_named_and_stops_nothing() {
    let output = gateway(&["check-config"], &[("GATEWAY_INTERFACE", "CGI/1.1")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stderr(&output).starts_with("GATEWAY_INTERFACE: ignored"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_cannot_be_said_still_has_its_status() {
    for arguments in [&["check-config", "--shards=99"][..], &["nonsense"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = program(arguments, &[]);
        let status = command.stderr(full.unwrap()).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn check_config_looks_where_serve_would() {
    let directory = scratch().join("usual");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("gateway.toml"), "shards = 99").unwrap();
    let named = file_with("named.toml", "demo = 1");
    let blamed = |variables: &[(&str, &str)]| {
        let output = program(&["check-config"], variables)
            .current_dir(&directory)
            .output()
            .unwrap();
        stderr(&output).split(':').next().unwrap().to_owned()
    };
    assert_eq!(blamed(&[]), "shards");
    assert_eq!(
        blamed(&[("GATEWAY_CONFIG", named.to_str().unwrap())]),
        "demo"
    );
}

#[test]
fn a_mistake_on_the_command_line_has_its_message() {
    let errors = |arguments: &[&str]| {
        let output = gateway(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        stderr(&output)
    };
    assert_eq!(
        errors(&["serve", "--lisen=1", "--engine.path", "--redis-uri=a"]),
        "--lisen: unknown flag; the nearest known one is --listen\n\
         --engine.path: unknown flag; the nearest known one is --engine-path\n\
         --redis-uri: unknown flag; the nearest known one is --redis-url\n"
    );
    assert!(errors(&["--demo=true", "--demo=true"]).contains("cannot be used multiple times"));
    assert!(errors(&["--demo"]).contains("a value is required for '--demo <BOOLEAN>'"));
    for (arguments, said) in [
        (
            &["chek-config"][..],
            "chek-config: unknown command; the nearest known one is check-config\n",
        ),
        (
            &["help", "toke"],
            "toke: unknown command; the nearest known one is token\n",
        ),
        (
            &["start"],
            "start: unknown command; gateway help lists them\n",
        ),
        (
            &["--port=3000"],
            "--port: unknown flag; the nearest known one is --listen\n",
        ),
        (
            &["serve", "--colour=1"],
            "--colour: unknown flag; --help lists them\n",
        ),
        (
            &["doctor", "http://a", "--idle-timout=1"],
            "--idle-timout: unknown flag; the nearest known one is --idle-timeout\n",
        ),
        (
            &["doctor", "http://a", "--listen=1"],
            "--listen: unknown flag; --help lists them\n",
        ),
        (
            &["token", "--roms=1"],
            "--roms: unknown flag; the nearest known one is --rooms\n",
        ),
        (
            &["man", "tokens"],
            "there is no such command; the nearest known one is token\n",
        ),
    ] {
        assert_eq!(errors(arguments), said);
    }
    assert_eq!(
        errors(&["--demo=true", "serve"]),
        "--demo: flags go after the command: gateway serve --demo ..\n"
    );
    let said = errors(&["check-config", "--demo=maybe"]);
    let expected =
        "demo: \"maybe\" is neither true nor false (--demo); for example --demo=false, or none: ";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn booleans_take_a_value() {
    for flag in [&["--demo", "false"][..], &["--demo=true"]] {
        let output = gateway(&[&["check-config"], flag].concat(), &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn the_version_is_printed() {
    let version = printed(&["--version"]);
    let number = format!("gateway {}", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&number), "{version}");
    let longer = printed(&["version"]);
    let build = longer.strip_prefix(&version).unwrap();
    let library = if cfg!(feature = "aws-lc") {
        "AWS-LC"
    } else {
        "ring"
    };
    assert!(build.contains(&format!("TLS by {library}")), "{longer}");
}

const COMMANDS: &[&str] = &[
    "serve",
    "check-config",
    "default-config",
    "token",
    "healthcheck",
    "doctor",
    "trace",
    "top",
    "runbook",
    "completions",
    "man",
    "version",
];

#[test]
fn a_trace_follows_one_thing_and_says_why_it_cannot() {
    let key = file_with("trace.key", "a key that only tests know\n");
    let key = key.to_str().unwrap();
    // Nobody listens at port 1.
    let nowhere = "--url=http://127.0.0.1:1";
    let of_ann = ["trace", "--user=ann"];
    for (arguments, status, message) in [
        (vec!["trace", nowhere, "--key-file", key], 2, "--user"),
        (
            vec!["trace", "--user=ann", "--room=chat"],
            2,
            "cannot be used with",
        ),
        ([&of_ann[..], &[nowhere]].concat(), 2, "there is no key"),
        (
            [
                &of_ann[..],
                &["--url=https://127.0.0.1:1", "--key-file", key],
            ]
            .concat(),
            2,
            "--url: it is no address of an internal port",
        ),
        (
            [&of_ann[..], &[nowhere, "--key-file", "/nowhere"]].concat(),
            2,
            "--key-file: ",
        ),
        (
            [&of_ann[..], &[nowhere, "--key-file", key]].concat(),
            1,
            "127.0.0.1:1: ",
        ),
    ] {
        let done = gateway(&arguments, &[]);
        let said = stderr(&done);
        assert_eq!(done.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
        assert!(!said.contains("only tests know"), "{said}");
    }
}

#[test]
fn what_is_busiest_is_asked_at_a_node_and_the_command_says_why_it_cannot() {
    let key = file_with("top.key", "a key that only tests know\n");
    let key = key.to_str().unwrap();
    let nowhere = "--url=http://127.0.0.1:1";
    for (arguments, status, message) in [
        (vec!["top", nowhere, "--once"], 2, "there is no key"),
        (vec!["top", "--interval=11s"], 2, "between 1s and 10s"),
        (vec!["top", "--user=ann"], 2, "--user"),
        (vec!["top", nowhere, "--key-file", key], 1, "127.0.0.1:1: "),
    ] {
        let done = gateway(&arguments, &[]);
        let said = stderr(&done);
        assert_eq!(done.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}

#[test]
fn help_is_short_and_serve_has_every_setting() {
    let list = printed(&["help"]);
    assert_eq!(list, printed(&["--help"]));
    for command in COMMANDS {
        let help = printed(&["help", command]);
        assert_eq!(help, printed(&[command, "--help"]));
        assert!(list.contains(&format!("\n  {command} ")), "{list}");
        let settings = SETTINGS
            .iter()
            .filter(|it| help.contains(&format!("--{} <", it.flag())));
        let settings = settings.count();
        match *command {
            "serve" => assert_eq!(settings, SETTINGS.len()),
            _ => assert!(
                settings <= 5 && help.lines().count() < 60,
                "{command}: {help}"
            ),
        }
    }
    assert!(list.lines().count() < 40, "{list}");
    for (command, flag) in [
        ("token", "--auth-jwt-secret"),
        ("healthcheck", "--internal-listen"),
    ] {
        assert!(printed(&[command, "--help"]).contains(flag), "{command}");
    }
    // What is not shown is taken all the same.
    let taken = gateway(&["check-config", "--shards=1"], &[]);
    assert_eq!(taken.status.code(), Some(0), "{}", stderr(&taken));
}

#[test]
fn the_page_of_the_command_line_has_the_statuses_of_the_help() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/command-line.md");
    let page = std::fs::read_to_string(path).unwrap();
    for command in COMMANDS {
        let help = printed(&[command, "--help"]);
        let (_, statuses) = help.split_once("Exit status:\n").unwrap();
        let meanings: Vec<_> = statuses.lines().map(|line| &line[5..]).collect();
        assert_eq!(meanings.len(), 3, "{help}");
        let row = format!("| `{command}` | {} |", meanings.join(" | "));
        assert!(page.contains(&row), "{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    assert_eq!(rows.count(), COMMANDS.len());
}

#[test]
fn shells_complete_every_command_and_every_flag() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
        // fish has names without dashes.
        for setting in SETTINGS {
            assert!(
                script.contains(&setting.flag()),
                "{shell}: {}",
                setting.name
            );
        }
    }
    let unknown = gateway(&["completions", "csh"], &[]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let page = printed(&["man"]);
    for part in [
        ".TH GATEWAY 1",
        ".SH NAME",
        ".SH \"EXIT STATUS\"",
        ".SH ENVIRONMENT",
        ".SH FILES",
        "gateway\\-serve(1)",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let directory = scratch().join("manual");
    let out = directory.to_str().unwrap();
    assert_eq!(printed(&["man", "--out", out]), "");
    assert_eq!(
        std::fs::read_to_string(directory.join("gateway.1")).unwrap(),
        page
    );
    for command in COMMANDS {
        let file = directory.join(format!("gateway-{command}.1"));
        let written = std::fs::read_to_string(file).unwrap();
        assert_eq!(written, printed(&["man", command]));
        assert!(written.contains(".SH \"EXIT STATUS\""), "{written}");
    }
    assert_eq!(
        std::fs::read_dir(&directory).unwrap().count(),
        1 + COMMANDS.len()
    );
    let serve = printed(&["man", "serve"]);
    assert!(serve.contains("redis\\-url"), "{serve}");
    let nowhere = gateway(&["man", "--out", "/dev/null/pages"], &[]);
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn a_token_gives_what_is_spelled_rightly_and_nothing_else() {
    let secret = "--auth-jwt-secret=0123456789abcdef";
    let claims = |flags: &[&str]| {
        let token = printed(&[&["token", secret], flags].concat());
        printed(&["token", secret, "--verify", token.trim()])
    };
    for rights in ["chat:*=read", "chat:*=", "=join", "a=join=read", ""] {
        let rooms = format!("--rooms={rights}");
        let output = gateway(&["token", secret, &rooms], &[]);
        assert_eq!(output.status.code(), Some(2), "{rights}");
        assert!(output.stdout.is_empty(), "{rights}");
        assert!(stderr(&output).contains("--rooms"), "{}", stderr(&output));
    }
    let given = claims(&["--rooms=news=join", "--rooms=news=publish,chat:*=join"]);
    let plain: String = given.split_whitespace().collect();
    for part in [r#""news":["join","publish"]"#, r#""chat:*":["join"]"#] {
        assert!(plain.contains(part), "{given}");
    }
    let given = claims(&["--namespace=chat,/news"]);
    assert!(
        given.contains("\"/chat\"") && given.contains("\"/news\""),
        "{given}"
    );
    for empty in ["--namespace=", "--events=a,"] {
        let output = gateway(&["token", secret, empty], &[]);
        assert_eq!(output.status.code(), Some(2), "{empty}");
    }
    let times = |ttl: &str| {
        let given = claims(&[ttl]);
        let number = |name: &str| -> u64 {
            let (_, rest) = given.split_once(&format!("\"{name}\": ")).unwrap();
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        };
        number("exp") - number("iat")
    };
    assert_eq!(times("--ttl=600"), 600);
    assert_eq!(times("--ttl=10m"), 600);
}

#[test]
fn nothing_has_colours() {
    for arguments in [&["--help"][..], &["--demo"], &["nonsense"]] {
        let output = gateway(arguments, &[("CLICOLOR_FORCE", "1"), ("FORCE_COLOR", "1")]);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b));
    }
}

fn printed(arguments: &[&str]) -> String {
    let output = gateway(arguments, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_secret_is_in_no_message_about_flags_and_variables() {
    const SECRET: &str = "hunter2";
    let refused_without_a_word = |command: Option<&str>, given: &[String]| {
        let mut arguments = given.to_vec();
        arguments.splice(0..0, command.map(str::to_owned));
        let output = gateway(&arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!stderr(&output).contains(SECRET), "{}", stderr(&output));
    };
    let secrets: Vec<_> = SETTINGS.iter().filter(|setting| setting.secret).collect();
    assert!(secrets.len() >= 5);
    for setting in secrets {
        let flag = format!("--{}", setting.flag());
        for given in [
            vec![format!("{flag}={SECRET}")],
            vec![flag.clone(), SECRET.to_owned()],
            vec![flag.clone(), format!("-{SECRET}")],
            vec![flag.clone(), format!("--{SECRET}")],
            vec![format!("{flag}x={SECRET}")],
            vec![format!("{flag}={SECRET}"), format!("{flag}={SECRET}")],
        ] {
            for command in [None, Some("serve"), Some("check-config")] {
                refused_without_a_word(command, &given);
            }
        }
        // After check-config, what stands alone is the name of a file.
        for stray in [
            [format!("{flag}="), SECRET.to_owned()],
            [format!("{flag}=a"), SECRET.to_owned()],
        ] {
            for command in [None, Some("serve")] {
                refused_without_a_word(command, &stray);
            }
        }
        let output = gateway(&["check-config"], &[(&setting.variable(), SECRET)]);
        assert_eq!(output.status.code(), Some(2));
        assert!(!stderr(&output).contains(SECRET), "{}", stderr(&output));
    }
}

fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

fn file_with(name: &str, text: &str) -> PathBuf {
    let path = scratch().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn gateway<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &str)]) -> Output {
    program(arguments, variables).output().unwrap()
}

fn program<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(scratch());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
