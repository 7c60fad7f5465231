//! Statements as the tree has them.

use super::*;

/// Statements in one line each: words, and in braces what is below.
fn tree(text: &str) -> (String, String) {
    fn shown(statements: &[Statement]) -> String {
        let one = |statement: &Statement| match &statement.below {
            Some(below) => format!("{} {{{}}}", statement.text(), shown(below)),
            None => statement.text(),
        };
        statements.iter().map(one).collect::<Vec<_>>().join("; ")
    }
    let mut report = Report::new("f");
    let tokens = lexer::tokens(text, &mut report);
    let statements = shown(&tree::statements(&tokens, &mut report));
    (statements, report.to_string())
}

#[test]
fn a_block_may_be_written_in_any_way() {
    let expected =
        "virtual_server 192.0.2.1 80 {lb_algo rr; real_server 192.0.2.2 80 {weight 1; TCP_CHECK {}}}";
    for text in [
        "virtual_server 192.0.2.1 80 {\n lb_algo rr\n real_server 192.0.2.2 80 {\n weight 1\n TCP_CHECK {\n}\n}\n}\n",
        "virtual_server 192.0.2.1 80 { lb_algo rr real_server 192.0.2.2 80 { weight 1 TCP_CHECK { } } }",
        "virtual_server 192.0.2.1 80\n{lb_algo rr\nreal_server 192.0.2.2 80\n{\nweight 1 TCP_CHECK\n{}}}",
    ] {
        assert_eq!(tree(text), (expected.to_owned(), String::new()), "{text}");
    }
}

#[test]
fn keywords_are_arguments_where_one_is_needed() {
    let (statements, _) = tree("vrrp_instance priority { interface eth0 priority 3 }\n");
    assert_eq!(statements, "vrrp_instance priority {interface eth0; priority 3}");
    // A script's argument is no keyword, unless the block has no line breaks at all.
    let (statements, _) = tree("vrrp_script x {\n script /bin/x weight 3\n}\n");
    assert_eq!(statements, "vrrp_script x {script /bin/x weight 3}");
    let (statements, _) = tree("vrrp_script x { script /bin/x weight 3 }\n");
    assert_eq!(statements, "vrrp_script x {script /bin/x; weight 3}");
}

#[test]
fn a_missing_brace_ends_where_the_next_section_begins() {
    let (statements, report) = tree("vrrp_script x {\ninterval 2\nvrrp_instance y {\npriority 3\n}\n}\n");
    assert_eq!(statements, "vrrp_script x {interval 2}; vrrp_instance y {priority 3}");
    assert!(
        report.starts_with("f:3: note: vrrp_instance: the brace of vrrp_script x in line 1 is missing"),
        "{report}"
    );
    assert!(report.contains("f:6: note: }: a brace too many"), "{report}");
}

#[test]
fn a_brace_too_early_loses_nothing() {
    let text = "virtual_server 192.0.2.1 80 {\nlb_kind DR\n}\nreal_server 192.0.2.2 80 {\nweight 1\n}\n";
    let (statements, report) = tree(text);
    assert_eq!(statements, "virtual_server 192.0.2.1 80 {lb_kind DR; real_server 192.0.2.2 80 {weight 1}}");
    assert!(report.contains("f:4: note: real_server: a brace too many before it"), "{report}");
}

#[test]
fn a_typo_of_a_long_word_is_understood_and_told() {
    let (_, report) = tree("vrrp_instance x {\nlvs_sync_daemon_inteface eth0\nstat MASTER\n}\n");
    assert_eq!(report, "f:2: note: lvs_sync_daemon_inteface: taken for lvs_sync_daemon_interface\n");
}

#[test]
fn numbers_of_seconds_become_durations() {
    for (text, expected) in [("6", "6s"), ("0.25", "250ms"), ("1.5", "1500ms"), ("0", "0s"), ("0.0001", "0s")]
    {
        assert_eq!(seconds(text).map(duration).as_deref(), Some(expected));
    }
    for wrong in ["", "x", "-1", "NaN", "inf", "1e300"] {
        assert_eq!(seconds(wrong), None, "{wrong}");
    }
}
