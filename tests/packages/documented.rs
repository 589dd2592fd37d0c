//! Commands of the documents that are about packages: blocks of `sh packages`, run where the packages lie.

use super::{packages, packages_tier};
use stacksonde_tests::plugin;
use stacksonde_tests::root::Root;
use std::fs;

#[test]
fn commands_of_the_documents_run() {
    packages_tier!();
    let mut ran = 0;
    for name in ["README.md", "docs/packaging.md"] {
        let text = fs::read_to_string(plugin::workspace().join(name)).unwrap();
        let root = Root::unpack(&packages());
        for block in text.split("\n```sh packages\n").skip(1) {
            let commands = block.split_once("\n```\n").unwrap().0;
            root.run(&["sh", "-exc", &format!("cd /srv/packages\n{commands}")]);
            ran += 1;
        }
    }
    assert!(ran >= 2, "the documents say how packages are installed");
}
