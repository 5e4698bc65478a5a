"""Archives of finished tables: their contents, without the user's paths, accounts, hosts and tokens, and their check.

private_values   replaces such values in texts, and the SHA-256 that depend on them
contents         lists, reads, writes and checks the files of an archive
descriptions     environment, README and replaced values
crate            ro-crate-metadata.json
croissant        croissant.json
"""
