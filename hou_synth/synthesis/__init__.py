"""Initial synthetic patches (paper Sec. 4.1): mask, textures of real tissue, background, camera."""
