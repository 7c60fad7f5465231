//! What ipvsadm says of command lines that make no sense, as it was recorded for the front's tests.

use crate::guest::Guest;

const RECORDED: &str = include_str!("../../../lb-userspace/src/ipvsadm/golden/ipvsadm-refusals.txt");

#[test]
fn refuses_what_is_recorded_in_the_same_words() {
    let (_, recorded) = RECORDED.split_once("\n\n").expect("a head, then what was recorded");
    let questions: Vec<&str> = recorded.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let answers = Guest::find().ask(&(questions.join("\n") + "\n"));
    let (theirs, ours): (Vec<&str>, Vec<&str>) = (answers.lines().collect(), recorded.lines().collect());
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(theirs, ours, "{answers}");
    }
    assert_eq!(theirs.len(), ours.len());
    println!("{} command lines compared", questions.len());
}
