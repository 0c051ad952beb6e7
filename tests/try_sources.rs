use skirmish::source::Catalogue;
#[test]
fn all_load() {
    let mut docs = vec![];
    for e in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sources")).unwrap() {
        let p = e.unwrap().path();
        let t = std::fs::read_to_string(&p).unwrap();
        match skirmish::yaml::parse(p.file_name().unwrap().to_str().unwrap(), &t) { Ok(d) => docs.extend(d), Err(e) => println!("{e}") }
    }
    match Catalogue::load(&docs) { Ok(c) => println!("{:?}", c.ids().collect::<Vec<_>>()), Err(e) => println!("{e}") }
}
