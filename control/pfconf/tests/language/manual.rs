//! The manual's page about the language says what the tables say.

#[test]
fn the_manual_lists_what_the_language_has() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/packaging/man/turnpike-pf.conf.5");
    let text = std::fs::read_to_string(page).expect("the page is there");
    let mut wanted = text.clone();
    for (name, part) in pfconf::manual() {
        let (begin, end) = (format!(".\\\" begin {name}\n"), format!(".\\\" end {name}\n"));
        let (before, rest) = wanted.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
        let (_, behind) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
        wanted = format!("{before}{begin}{part}{end}{behind}");
    }
    if std::env::var_os("UPDATE_MANUAL").is_some() {
        std::fs::write(page, &wanted).expect("writable");
    }
    assert_eq!(text, wanted, "run the test with UPDATE_MANUAL=1 to write the page, then again without");
}
