"""The demand-driven loop: weak classes, found inside train, decide what is generated next."""
