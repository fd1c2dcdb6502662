//! The folder in which fetched servers stay: filled once, then used without a network.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

/// The cache folder: `TIDEWIRE_CACHE`, else `tidewire` in the user's cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache and creates its folder where it is missing.
    ///
    /// # Errors
    /// When no home folder is known or the folder cannot be created.
    pub fn open() -> Result<Self> {
        let root = match (env::var_os("TIDEWIRE_CACHE"), env::var_os("XDG_CACHE_HOME")) {
            (Some(root), _) => PathBuf::from(root),
            (None, Some(caches)) => PathBuf::from(caches).join("tidewire"),
            (None, None) => {
                let home = env::home_dir()
                    .ok_or_else(|| anyhow!("no home folder: set TIDEWIRE_CACHE to a folder"))?;
                home.join(".cache/tidewire")
            }
        };
        fs::create_dir_all(&root)
            .with_context(|| format!("create the cache folder {}", root.display()))?;
        Ok(Self { root })
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The entry `name`; where it is missing `fill` makes it in an empty folder, which then takes
    /// the name in one step: an interrupted run leaves nothing half done behind.
    ///
    /// # Errors
    /// When `fill` fails or the file system refuses.
    pub fn entry(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let entry = self.root.join(name);
        if entry.is_dir() {
            return Ok(entry);
        }
        let filling = tempfile::Builder::new().prefix(".filling-").tempdir_in(&self.root)?;
        let content = filling.path().join("content");
        fs::create_dir(&content)?;
        fill(&content).with_context(|| format!("prepare {name}"))?;
        match fs::rename(&content, &entry) {
            // Another run was faster: its entry is as good as ours.
            Err(_) if entry.is_dir() => Ok(entry),
            renamed => renamed.map(|()| entry).with_context(|| format!("keep {name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn an_entry_is_filled_once_and_a_failed_filling_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { root: folder.path().to_path_buf() };
        assert!(cache.entry("a", |_| bail!("no network")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let entry = cache.entry("a", |into| Ok(fs::write(into.join("f"), "1")?)).unwrap();
        assert_eq!(cache.entry("a", |_| bail!("filled twice")).unwrap(), entry);
        assert_eq!(fs::read_to_string(entry.join("f")).unwrap(), "1");
    }
}
