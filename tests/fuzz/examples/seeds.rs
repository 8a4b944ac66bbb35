//! Writes the seeds into the folders of the corpus: `cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds`.

use std::path::Path;

use tessera_fuzz::targets::seeds;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for seed in seeds() {
        let folder = corpus.join(seed.target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("seed-{}", seed.name)), seed.input)?;
    }
    Ok(())
}
