"""Small generative problems whose true reward is known. Only worlds and reproductions may read a gold."""
