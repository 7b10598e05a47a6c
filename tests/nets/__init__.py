"""Small networks that tests share."""
