"""Family: sentences from pixels, class shares or masks. One file per writer."""
