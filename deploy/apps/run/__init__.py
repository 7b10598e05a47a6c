"""`python -m deploy run`: an image → mask engine on images, folders, videos and cameras."""
