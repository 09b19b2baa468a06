//! The stories are told as their files have it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use simulation::story;

#[test]
fn the_stories_are_as_they_are_told() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
    for story in &story::ALL {
        let path = directory.join(story.name).with_extension("txt");
        let (kept, told) =
            (std::fs::read_to_string(&path).unwrap_or_default(), story.told().unwrap_or_else(|error| panic!("{}: {error}", story.name)));
        if let Some((number, (kept, told))) = kept.lines().zip(told.lines()).enumerate().find(|(_, (kept, told))| kept != told) {
            panic!("{}, line {}:\n  kept {kept}\n  told {told}\nif that is right, `make generate` writes it anew", story.name, number + 1);
        }
        assert_eq!(kept.lines().count(), told.lines().count(), "{}: `make generate` writes it anew", story.name);
    }
    let files = std::fs::read_dir(&directory).unwrap().count();
    assert_eq!(files, story::ALL.len(), "a file in stories/ that no story writes");
}
