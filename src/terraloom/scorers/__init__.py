"""Family: figures about samples and about the whole corpus. One file per scorer."""
