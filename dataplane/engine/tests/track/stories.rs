//! TCP tracking told as stories: `tests/track/*.story`, read by `tests/track/story.rs`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::story;

macro_rules! stories {
    ($( $name:ident ),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let file = concat!("track/", stringify!($name), ".story");
                story::run(file, include_str!(concat!(stringify!($name), ".story")));
            }
        )*

        const FILES: &[&str] = &[ $( concat!(stringify!($name), ".story"), )* ];
    };
}

stories!(handshake, data, window, scale, close, reset, reuse, pickup, sloppy, wrap, modulate);

#[test]
fn every_story_file_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/track");
    let found: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the folder of the stories")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name.ends_with(".story"))
        .collect();
    assert_eq!(found, FILES.iter().map(|name| (*name).to_owned()).collect());
}
