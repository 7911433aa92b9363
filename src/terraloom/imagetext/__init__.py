"""Do image and caption belong together? CLIP weights of the user's, and an encoder of one's own."""
