"""One module per controller: reconcile(key) -> intents, pure; the framework applies intents in batches."""
